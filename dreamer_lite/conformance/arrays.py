"""The official numbers: in this package's wheel, or in the repository's tests/golden."""

from functools import lru_cache
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
PLACES = (HERE.parent.parent / "tests" / "golden", HERE / "golden")
FOLDER = next((folder for folder in PLACES if (folder / "CONSTANTS.json").exists()), PLACES[0])


class Output(NamedTuple):
    """One official array beside what an implementation computed; within rtol · |official| + atol they are equal."""

    name: str
    found: Tensor
    official: Tensor
    rtol: float
    atol: Tensor | float
    of: Tensor | None = None  # the input, where each entry belongs to one of it
    entries: tuple[str, ...] = ()  # what the entries are, if they have names

    @property
    def allowed(self) -> Tensor:
        return torch.as_tensor(self.atol) + self.rtol * self.official.double().abs()

    @property
    def off(self) -> Tensor:
        """How far off, as a multiple of what is allowed; infinite where it is NaN."""
        gap = (self.found.double() - self.official.double()).abs()
        return torch.where(gap == 0, 0.0, gap / self.allowed).nan_to_num(torch.inf)

    @property
    def gap(self) -> Tensor:
        """The difference where it is more than allowed, else 0; infinite where it is NaN."""
        gap = (self.found.double() - self.official.double()).abs().nan_to_num(torch.inf)
        return torch.where(self.off > 1, gap, 0.0)

    @property
    def scale(self) -> float:
        """The largest official entry, which differences are measured by."""
        return max(float(self.official.double().abs().max()), 1e-30)

    @property
    def equal(self) -> bool:
        return self.found.shape == self.official.shape and bool((self.off <= 1).all())


@lru_cache(None)
def table(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@lru_cache(None)
def arrays_of(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return {key: value for key, value in arrays.items() if not key.endswith("__f64")}


class Golden:
    """One file of official arrays: `g[name]` is an input, `g.out(name, found)` an output beside the official one."""

    def __init__(self, name: str):
        self.name, self.arrays, self.constants = name, arrays_of(name), table("CONSTANTS.json")[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def __getitem__(self, name: str) -> Tensor:
        return torch.tensor(self.arrays[name])

    def weights(self, prefix: str = "w_") -> dict[str, Tensor]:
        return {name.removeprefix(prefix): self[name] for name in self.arrays if name.startswith(prefix)}

    def out(
        self,
        name: str,
        found: Tensor,
        official: Tensor | None = None,
        index: Any = ...,
        part: str = "",
        of: Tensor | None = None,
    ) -> Output:
        """official: what to compare with, if not the array as it is; index, part: the part of it, and its name."""
        if not isinstance(found, Tensor):
            raise TypeError(f"it returned a {type(found).__name__}, where an array is expected")
        rtol, atol = table("TOLERANCES.json")[self.name].get(name) or (0.0, 0.0)
        atol = (
            1e-6 if name.endswith("stoch") and not atol else atol
        )  # one-hot, but for the rounding of the gradient's way
        if f"{name}_tol" in self.arrays:
            rtol, atol = 0.0, self[f"{name}_tol"]
        official = self[name][index] if official is None else official
        return Output(f"{self.name}/{name}{part}", found.detach().cpu(), official, rtol, atol, of)
