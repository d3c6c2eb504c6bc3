"""A growing set of bricks of lattice values: only the part of a lattice that the surface passes through.

A brick is SIZE³ cells, hence (SIZE + 1)³ vertices, of which those on its sides belong to its neighbours too. The oldest
brick holding a vertex evaluates it and the younger ones copy, so every vertex is evaluated once and all bricks agree on
it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from rilievo.meshing.lattice import Lattice
from rilievo.ops.threading import kernel

SIZE = 4
"""Cells along a brick's side. Small bricks follow the surface closely; at 4 the shared sides cost little and are shared
anyway."""

_SIDES = [(axis, end) for axis in range(3) for end in (0, 1)]


class Bricks:
    """The active bricks of a lattice, in the order in which they were activated."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.shape = tuple(-(-n // SIZE) for n in lattice.cells)
        self.slot = np.full(self.shape, -1, dtype=np.int32)
        self.index: Int64[np.ndarray, "bricks 3"] = np.empty((0, 3), dtype=np.int64)
        self.values: Float64[np.ndarray, "bricks x y z"] = np.empty((0, SIZE + 1, SIZE + 1, SIZE + 1))

    def __len__(self) -> int:
        return len(self.index)

    def activate(self, index: Int64[np.ndarray, "new 3"]) -> None:
        """Add bricks by their position in the grid of bricks and evaluate them; those already active are skipped."""
        linear = np.unique(np.ravel_multi_index(tuple(index.T), self.shape))
        linear = linear[self.slot.reshape(-1)[linear] < 0]
        new = np.stack(np.unravel_index(linear, self.shape), axis=-1).astype(np.int64)
        start = len(self)
        self.slot.reshape(-1)[linear] = np.arange(start, start + len(new), dtype=np.int32)
        self.index = np.concatenate([self.index, new])
        owner, place = _oldest_holders(self.slot, self.index, start)
        own = owner == np.arange(start, len(self))[:, None]
        values = np.empty(own.shape)
        brick, vertex = np.nonzero(own)
        corner = np.stack(np.unravel_index(vertex, (SIZE + 1,) * 3), axis=-1)
        values[own] = self.lattice.vertex_values(new[brick] * SIZE + corner)
        flat = np.concatenate([self.values.reshape(start, (SIZE + 1) ** 3), values])
        flat[start:][~own] = flat[owner[~own], place[~own]]
        self.values = flat.reshape(-1, SIZE + 1, SIZE + 1, SIZE + 1)

    def neighbours_across_the_surface(self, start: int) -> Int64[np.ndarray, "found 3"]:
        """Inactive bricks that the surface enters from a brick of slot `start` or later."""
        found = [np.empty((0, 3), dtype=np.int64)]
        for axis, end in _SIDES:
            side = np.take(self.values[start:], end * SIZE, axis=axis + 1).reshape(len(self) - start, (SIZE + 1) ** 2)
            beyond = self.index[start:].copy()
            beyond[:, axis] += 2 * end - 1
            crossed = (np.fmin.reduce(side, axis=1) < 0) & (np.fmax.reduce(side, axis=1) >= 0)  # blind to NaN
            crossed &= (beyond[:, axis] >= 0) & (beyond[:, axis] < self.shape[axis])
            beyond = beyond[crossed]
            found.append(beyond[self.slot[tuple(beyond.T)] < 0])
        return np.concatenate(found)


@kernel(parallel=False)
def _oldest_holders(slot, index, start):
    """For each vertex of the bricks from `start` on: the oldest active brick holding it, and its place in there."""
    side = SIZE + 1
    owner = np.empty((len(index) - start, side**3), dtype=np.int64)
    place = np.empty((len(index) - start, side**3), dtype=np.int64)
    for b in range(start, len(index)):
        for i in range(side):
            for j in range(side):
                for k in range(side):
                    oldest, at = np.int64(b), (i * side + j) * side + k
                    for dx in range(-1 if i == 0 else 0, 2 if i == SIZE else 1):
                        for dy in range(-1 if j == 0 else 0, 2 if j == SIZE else 1):
                            for dz in range(-1 if k == 0 else 0, 2 if k == SIZE else 1):
                                x, y, z = index[b, 0] + dx, index[b, 1] + dy, index[b, 2] + dz
                                if min(x, y, z) < 0 or x >= slot.shape[0] or y >= slot.shape[1] or z >= slot.shape[2]:
                                    continue
                                other = slot[x, y, z]
                                if 0 <= other < oldest:
                                    oldest = np.int64(other)
                                    at = ((i - SIZE * dx) * side + j - SIZE * dy) * side + k - SIZE * dz
                    owner[b - start, (i * side + j) * side + k] = oldest
                    place[b - start, (i * side + j) * side + k] = at
    return owner, place
