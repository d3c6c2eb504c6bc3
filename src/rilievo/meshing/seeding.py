"""Where to look for a surface first: few samples of the field decide which bricks can hold a part of it.

The box is divided into blocks and the field f is sampled at their centres. If f changes by at most L per unit of
length, a block of half diagonal r holds no zero when |f(centre)| > L r. Blocks that pass are halved until they are
bricks.

For a learned distance L is not 1 and not known. It is measured instead: the steepest slope between neighbouring centres
in the block's surroundings, at least the median slope of the box, times a margin. Besides, wherever f changes sign
between neighbouring centres, the zero between them is bracketed to within a cell and its brick taken, whatever L says.
What this misses of a surface that was met is found later, by following the surface; only a piece that lies wholly
between the samples can be lost.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.ndimage import maximum_filter

from rilievo.errors import clear
from rilievo.meshing.bricks import SIZE
from rilievo.meshing.lattice import Lattice

MARGIN = 1.5
"""A learned distance is rougher between the samples than the samples show. Bricks themselves are judged without margin:
one that is left out wrongly is found again from its neighbours."""

BLOCKS = 64
"""Blocks along the longest side to begin with: 64³ samples are a fifth of a percent of a 512³ lattice."""

SMALL = 32
"""Lattices up to this many cells a side are taken whole: there is nothing to save."""


def seed_bricks(
    lattice: Lattice, lipschitz: float | None = None, coarse: int | None = None
) -> Int64[np.ndarray, "seeds 3"]:
    """Bricks (positions in the grid of bricks) that may hold a part of the surface.

    `lipschitz` is the bound L where it is known; `coarse` the cells per side of the first blocks, SIZE times a power of
    two.
    """
    if max(lattice.cells) <= SMALL:
        return _grid([-(-n // SIZE) for n in lattice.cells])
    if coarse is not None and (coarse < SIZE or coarse & (coarse - 1)):
        raise clear(
            "coarse block size",
            expected=f"{SIZE} cells times a power of two",
            got=str(coarse),
            do="leave it out, or give 4 for the densest search",
        )
    side = coarse or SIZE * 2 ** max(0, round(math.log2(max(lattice.cells) / (BLOCKS * SIZE))))
    shape = [-(-n // side) for n in lattice.cells]
    index = _grid(shape)
    centre, radius, capped = _blocks(lattice, index, side)
    f = lattice.evaluate(centre)
    if lipschitz is None:
        slope = _slopes(centre.reshape(*shape, 3) * lattice.spacing, f.reshape(shape)).reshape(-1)
        bound = np.maximum(slope, np.median(slope))
    else:
        bound = np.full(len(f), float(lipschitz))
    margin = MARGIN if lipschitz is None else 1.0
    crossings = _crossings(lattice, centre.reshape(*shape, 3), f.reshape(shape)) // SIZE
    while True:
        slack = margin if side > SIZE else 1.0
        near = np.where(capped, f, np.abs(f)) <= slack * bound * radius
        index, bound = index[near], bound[near]
        if side == SIZE:
            return np.concatenate([index, crossings])
        side //= 2
        index, bound = (2 * index[:, None] + _grid([2, 2, 2])).reshape(-1, 3), np.repeat(bound, 8)
        within = (index * side < np.asarray(lattice.cells)).all(axis=1)
        index, bound = index[within], bound[within]
        centre, radius, capped = _blocks(lattice, index, side)
        f = lattice.evaluate(centre)


def _grid(shape: list[int]) -> Int64[np.ndarray, "n 3"]:
    return np.stack(np.unravel_index(np.arange(math.prod(shape)), shape), axis=-1).astype(np.int64)


def _blocks(
    lattice: Lattice, index: Int64[np.ndarray, "n 3"], side: int
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Centre (lattice coordinates) and half diagonal (world units) of blocks cut to the box, and whether they reach
    into the cap."""
    low, high = index * side, np.minimum((index + 1) * side, lattice.cells)
    boxed_low, boxed_high = lattice.in_box(low.astype(np.float64)), lattice.in_box(high.astype(np.float64))
    radius = np.linalg.norm((boxed_high - boxed_low) / 2 * lattice.spacing, axis=1)
    capped = ((low < boxed_low) | (high > boxed_high)).any(axis=1)
    return (boxed_low + boxed_high) / 2, radius, capped


def _slopes(points: Float64[np.ndarray, "x y z 3"], f: Float64[np.ndarray, "x y z"]) -> Float64[np.ndarray, "x y z"]:
    """Steepest slope of f around each block, from differences between neighbouring centres."""
    squares = np.zeros(f.shape)
    for axis in range(3):
        rise = np.abs(np.diff(f, axis=axis)) / np.diff(points[..., axis], axis=axis)
        steepest = np.zeros(f.shape)
        for first in (0, 1):
            part = [slice(None)] * 3
            part[axis] = slice(first, first + rise.shape[axis])
            steepest[tuple(part)] = np.maximum(steepest[tuple(part)], rise)
        squares += steepest**2
    return maximum_filter(np.sqrt(squares), size=3)


def _crossings(
    lattice: Lattice, centre: Float64[np.ndarray, "x y z 3"], f: Float64[np.ndarray, "x y z"]
) -> Int64[np.ndarray, "found 3"]:
    """Cells on both sides of a zero between neighbouring centres of different sign, bracketed to within a cell."""
    inside, outside = [], []
    for axis in range(3):
        a, b = centre.swapaxes(0, axis)[:-1], centre.swapaxes(0, axis)[1:]
        fa, fb = f.swapaxes(0, axis)[:-1], f.swapaxes(0, axis)[1:]
        change = (fa < 0) != (fb < 0)
        swap = (fb < 0)[change][:, None]
        inside.append(np.where(swap, b[change], a[change]))
        outside.append(np.where(swap, a[change], b[change]))
    low, high = np.concatenate(inside), np.concatenate(outside)
    while len(low) and np.abs(high - low).max() > 1:
        middle = (low + high) / 2
        negative = (lattice.evaluate(middle) < 0)[:, None]
        low, high = np.where(negative, middle, low), np.where(negative, high, middle)
    return np.minimum(np.concatenate([low, high]).astype(np.int64), np.asarray(lattice.cells) - 1)
