"""The lattice a field is sampled on: where its vertices are, and how their values are obtained.

Cells are as close to cubes as the box allows. A *capped* lattice has one more layer of cells all round whose outer
vertices are outside by decree (f = +∞), which closes every surface that would leave the box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from rilievo.errors import clear

ScalarField = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]


@dataclass
class Lattice:
    """A regular lattice over a box, and the field on it. Points are made in the dtype and on the device of
    `box_min`."""

    field: ScalarField
    box_min: Float[Tensor, "3"]
    box_max: Float[Tensor, "3"]
    resolution: int
    """Cells along the longest side of the box."""
    cap: bool
    chunk: int
    """Points handed to the field at once."""
    on_evaluation: Callable[[int], None]
    """Told the number of evaluations so far after every chunk."""

    def __post_init__(self) -> None:
        self.evaluations = 0
        size = (self.box_max - self.box_min).double().cpu().numpy()
        if not (np.isfinite(size).all() and (size > 0).all()):
            raise clear(
                "extraction box",
                expected="box_max greater than box_min on every axis",
                got=f"box_min {self.box_min.tolist()}, box_max {self.box_max.tolist()}",
                do="give the two opposite corners of the region to be meshed",
            )
        if self.resolution < 1:
            raise clear(
                "mesh resolution",
                expected="at least one cell along the longest side",
                got=str(self.resolution),
                do="give a positive number such as 256",
            )
        inner = np.maximum(np.rint(size * (self.resolution / size.max())), 1).astype(np.int64)
        self.pad = int(self.cap)
        self.cells: tuple[int, int, int] = tuple(int(n) + 2 * self.pad for n in inner)  # type: ignore[assignment]
        self.spacing: Float64[np.ndarray, "3"] = size / inner
        self.origin: Float64[np.ndarray, "3"] = self.box_min.double().cpu().numpy() - self.pad * self.spacing

    def positions(self, at: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """World positions of lattice coordinates."""
        return self.origin + at * self.spacing

    def in_box(self, at: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """The nearest lattice coordinates at which the field may be asked."""
        return np.clip(at, self.pad, np.asarray(self.cells) - self.pad)

    def tensor(self, at: Float64[np.ndarray, "n 3"]) -> Float[Tensor, "n 3"]:
        """World positions as the field receives them."""
        return torch.from_numpy(self.positions(at)).to(self.box_min.device, self.box_min.dtype)

    def evaluate(self, at: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n"]:
        """The field at lattice coordinates, which must lie in the box.

        Raises UserError where the field is not a finite number.
        """
        values = np.empty(len(at))
        for start in range(0, len(at), self.chunk):
            part = self.tensor(at[start : start + self.chunk])
            with torch.no_grad():
                result = self.field(part)
            values[start : start + len(part)] = result.double().cpu().numpy()
            self.evaluations += len(part)
            self.on_evaluation(self.evaluations)
        if not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values)))
            raise clear(
                "field to be meshed",
                expected="finite values everywhere in the box",
                got=f"{values[bad]} at {self.positions(at[bad : bad + 1])[0].round(4).tolist()}",
                do="the fit has diverged; resume from an earlier checkpoint or lower the learning rate",
            )
        return values

    def vertex_values(self, index: Int64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n"]:
        """The field at lattice vertices: +∞ on the vertices of the cap, NaN where there is no vertex."""
        last = np.asarray(self.cells)
        boxed = ((index >= self.pad) & (index <= last - self.pad)).all(axis=1)
        values = np.where((index <= last).all(axis=1), np.inf, np.nan)
        values[boxed] = self.evaluate(index[boxed].astype(np.float64))
        return values
