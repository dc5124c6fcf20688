"""Reads the official numbers, and carries official weights into our modules.

The folder is tests/golden, or the one named by the environment variable DREAMER_GOLDEN.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dreamer_lite.conformance import weights
from dreamer_lite.conformance.weights import Named, agent, decoder, encoder, layer, mlp, rssm, to_official  # noqa: F401
from dreamer_lite.nets import RMSNorm

FOLDER = Path(os.environ.get("DREAMER_GOLDEN") or Path(__file__).parent / "golden")
CONSTANTS = json.loads((FOLDER / "CONSTANTS.json").read_text())
TOLERANCES = json.loads((FOLDER / "TOLERANCES.json").read_text())


class Golden:
    """One file of official numbers. Inputs are read with `g[name]`, outputs are compared with `g.check(name, ours)`.

    In float64 an output is compared with its float64 twin, where there is one, a million times more strictly. Every
    array of the file has to be used one way or the other: `g.finish()` fails otherwise.
    """

    def __init__(self, name: str, dtype: torch.dtype):
        self.name, self.dtype = name, dtype
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)
        self.constants, self.tolerances = CONSTANTS[name], TOLERANCES[name]
        self.used: set[str] = set()
        self.compared: list[tuple[str, np.ndarray, np.ndarray, float, float]] = []  # name, ours, official, rtol, atol

    def __getitem__(self, name: str) -> Tensor:
        self.used.add(name)
        value = torch.as_tensor(self.arrays[name])
        return value.to(self.dtype) if value.is_floating_point() else value

    def numpy(self, name: str) -> np.ndarray:
        self.used.add(name)
        return self.arrays[name]

    def check(
        self, name: str, ours: Tensor, atol: np.ndarray | None = None, strict_atol: np.ndarray | None = None
    ) -> None:
        """Compare ours with the official output; atol replaces the tolerance of TOLERANCES.json (per element)."""
        self.used |= {name, f"{name}__f64"}
        ours = ours.detach().cpu().numpy()
        twin = self.arrays.get(f"{name}__f64")
        if self.dtype == torch.float64 and twin is not None:
            rtol, official = 1e-8, twin
            atol = strict_atol if strict_atol is not None else 1e-9 * np.abs(twin).max(initial=0)
        else:
            official = self.arrays[name]
            rtol, atol = (0.0, atol) if atol is not None else self.tolerances.get(name, (0.0, 0.0))
        assert ours.shape == official.shape, f"{self.name}/{name}: ours {ours.shape}, official {official.shape}"
        self.compared.append((name, ours, official, rtol, atol))
        compare(f"{self.name}/{name}", ours, official, rtol, atol)

    def finish(self) -> None:
        unused = {n for n in self.arrays if n.removesuffix("__f64") not in self.used}
        assert not unused, f"{self.name}: arrays that nothing looks at: {sorted(unused)}"


def compare(name: str, ours: np.ndarray, official: np.ndarray, rtol: float, atol: float | np.ndarray) -> None:
    wrong = ~(np.abs(ours.astype(np.float64) - official) <= atol + rtol * np.abs(official))
    assert not wrong.any(), f"{name}: ours {ours[wrong][:3]}, official {official[wrong][:3]}, {wrong.mean():.1%} differ"


@torch.no_grad()
def load(golden: Golden, named: Named, prefix: str = "w_") -> None:
    """Copy the official weights into our parameters."""
    weights.load({name: golden[prefix + name] for name in named}, named)


def layers(golden: Golden, pattern: str) -> int:
    """How many weights are named so: the layers of a network."""
    return sum(name.startswith(f"w_{pattern}") and name.endswith("kernel") for name in golden.arrays)


def set_eps(module: nn.Module, eps: float) -> None:
    for part in module.modules():
        if isinstance(part, RMSNorm):
            part.eps = eps
