"""The loop through time, in one place: step by step, or as one program when it is compiled."""

from collections.abc import Callable

import torch
from torch import Tensor

try:  # private to PyTorch so far: where it is missing, `run/compiled.py` says so, and all stays eager
    from torch._higher_order_ops.scan import scan as operator
except ImportError:
    operator = None

Tensors = tuple[Tensor, ...]


def scan(
    step: Callable[[Tensors, Tensors], tuple[Tensors, Tensors]], carry: Tensors, xs: Tensors
) -> tuple[Tensors, Tensors]:
    """`carry, outs = step(carry, x)` for each time t, with x the parts of xs at t; returns the last carry, and the outs stacked over time.

    xs: tensors (N, T, …), with random numbers among them, since a step draws none itself. carry and outs: tensors (N, …).
    Official: `embodied/jax/nets.py: scan`.
    """
    if torch.compiler.is_compiling():

        def plain(parts, x):
            parts, outs = step(carry._make(parts), x)
            return tuple(parts), tuple(out.clone() for out in outs)  # what is put out must not be what is carried on

        parts, outs = operator(plain, tuple(carry), xs, dim=1)
        return carry._make(parts), outs
    steps = []
    for x in zip(*(part.unbind(1) for part in xs)):
        carry, outs = step(carry, x)
        steps.append(outs)
    return carry, tuple(torch.stack(parts, 1) for parts in zip(*steps))
