"""Neighbours move alike: how far the motion of each point is from that of the points around it."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor


def neighbor_smoothness(
    motion: Float[Tensor, "points d"], neighbors: Int64[Tensor, "points k"], *, squared: bool = True
) -> Float[Tensor, "points"]:
    """Mean squared (else absolute) difference of motion to the k neighbours, over neighbours and components.

    `neighbors` leaves the point itself out, as `motion.neighbors.nearest_neighbors` does.
    """
    around = motion.index_select(0, neighbors.flatten()).view(*neighbors.shape, -1)
    difference = motion[:, None] - around
    return (difference.square() if squared else difference.abs()).mean((1, 2))
