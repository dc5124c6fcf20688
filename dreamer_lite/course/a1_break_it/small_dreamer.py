"""Notebook A1: pieces of a small Dreamer, as somebody may have written them from the paper. Three have a mistake."""

import torch
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.expm1(x.abs())


def unimix(logits: Tensor, mix: float = 0.01) -> Tensor:
    return (1 - mix) * logits.softmax(-1) + mix / logits.shape[-1]


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum((-2, -1))


def kl_losses(posterior: Tensor, prior: Tensor, free_nats: float = 1.0) -> tuple[Tensor, Tensor]:
    dyn, rep = kl(posterior.detach(), prior), kl(posterior, prior.detach())
    return dyn.clamp(min=free_nats), rep.clamp(min=free_nats)


def gru(h: Tensor, reset: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
    update = torch.sigmoid(update)
    return update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * h


def lambda_return(rewards: Tensor, continues: Tensor, values: Tensor, bootstrap: Tensor, lam: float = 0.95) -> Tensor:
    returns, last = [], bootstrap
    for t in reversed(range(rewards.shape[1])):
        last = rewards[:, t] + continues[:, t] * (lam * values[:, t] + (1 - lam) * last)
        returns.append(last)
    return torch.stack(returns[::-1], 1)


def step_weights(continues: Tensor) -> Tensor:
    return continues.cumprod(1)[:, :-1]


def return_scale(batches: list[Tensor], rate: float, limit: float, low: float, high: float) -> list[Tensor]:
    ends, scales = torch.zeros(2), []
    for returns in batches:
        ends = (1 - rate) * ends + rate * torch.quantile(returns.flatten(), torch.tensor([low, high]))
        scales.append(ends[1] - ends[0])
    return scales


FUNCTIONS = {
    function.__name__: function
    for function in (symlog, symexp, unimix, kl, kl_losses, gru, lambda_return, step_weights, return_scale)
}
