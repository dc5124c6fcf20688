"""The loop through time, in one place: step by step, or as one program when compiled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

try:  # private to PyTorch so far; where it is missing, `training/compiled.py` says so, and everything stays eager
    from torch._higher_order_ops.scan import scan as operator
except ImportError:
    operator = None
if TorchVersion(torch.__version__) < "2.13":  # before, it put time first in what it stacks
    operator = None

Tensors = tuple[Tensor, ...]
as_operator = False  # set by `compiling`


def scan(
    step: Callable[[Tensors, Tensors], tuple[Tensors, Tensors]], carry: Tensors, xs: Tensors
) -> tuple[Tensors, Tensors]:
    """`carry, outs = step(carry, x)` for each time t; returns the last carry, and the outs stacked over time.

    x: the tensors of xs at t. xs: tensors (N, T, …), including all random numbers, since a step draws none itself.
    carry and outs of a step: tensors (N, …). Official: `nj.scan` of the library ninjax, which
    `dreamerv3/rssm.py: RSSM.observe` calls.
    """
    if as_operator and torch.compiler.is_compiling():

        def plain(parts, x):
            parts, outs = step(carry._make(parts), x)
            return tuple(parts), tuple(out.clone() for out in outs)  # an output must not be a tensor of the carry

        parts, outs = operator(plain, tuple(carry), xs, dim=1)
        return carry._make(parts), outs
    steps = []
    for x in zip(*(part.unbind(1) for part in xs)):
        carry, outs = step(carry, x)
        steps.append(outs)
    return carry, tuple(torch.stack(parts, 1) for parts in zip(*steps))  # (N, T, …)


@contextmanager
def compiling() -> Iterator[None]:
    """Inside, a loop is compiled as the operator, which takes no tensors that share their memory.

    Anywhere else PyTorch's compiler sees it step by step.
    """
    global as_operator
    before, as_operator = as_operator, True
    try:
        yield
    finally:
        as_operator = before
