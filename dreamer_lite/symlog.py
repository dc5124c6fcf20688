"""One scale for all magnitudes: symlog squashes large values, symexp undoes it (notebook 02)."""

import torch
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    """Squash any real number towards zero, keeping its sign: sign(x) ln(1 + |x|).

    Paper: Eq. 9. Official: `embodied/jax/nets.py: symlog`. Shapes: any, kept.
    Gotcha: `log1p`, not `log(1 + x)`, so that symlog(1e-8) is 1e-8 and not 0.
    """
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """Inverse of `symlog`: sign(x) (exp(|x|) - 1).

    Paper: Eq. 9. Official: `embodied/jax/nets.py: symexp`. Shapes: any, kept.
    Gotcha: it overflows float32 beyond |x| of about 88; two-hot bins stop at 20.
    """
    return torch.sign(x) * torch.expm1(x.abs())
