"""Which pair of frames to train on next, and the box that points are scaled into.

A frame is a target in proportion to how many of the source's pixels have believed flow to it. Early in training only
close frames are offered (`window`), counted in the sorted list of the other frames; direct neighbours get a weight of
0.1 whatever their count, since they say little about long motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.errors import clear

NEIGHBOR_WEIGHT = 0.1


def target_weights(counts: Int64[Tensor, "t t"]) -> Float[Tensor, "t t"]:
    """Believed pixels per pair as shares of each source frame's total; the diagonal is zero.

    Raises `UserError` for a frame from which no flow is believed.
    """
    shares = counts.double() * (1 - torch.eye(len(counts), dtype=torch.float64))
    totals = shares.sum(1, keepdim=True)
    if not bool((totals > 0).all()):
        raise clear(
            f"flow from frame {int((totals[:, 0] <= 0).nonzero()[0, 0])}",
            expected="at least one believed pixel to another frame",
            got="none",
            do="check the flow files, or leave the frame out",
        )
    return shares / totals


def target_probabilities(weights: Float[Tensor, "t t"], window: int) -> Float[Tensor, "t t"]:
    """Probability of each target frame given the source: within `window` places, neighbours held at 0.1."""
    n = len(weights)
    table = torch.zeros_like(weights)
    for i in range(n):
        others = torch.tensor([j for j in range(n) if j != i])[max(i - window, 0) : min(i + window, n - 1)]
        chances = weights[i, others] / weights[i, others].sum().clamp_min(torch.finfo(weights.dtype).tiny)
        chances[(others - i).abs() == 1] = NEIGHBOR_WEIGHT
        table[i, others] = chances / chances.sum()
    return table


@dataclass(frozen=True)
class UnitBox:
    """world → (world - center) · scale: the points' bounding box has its middle at 0, its longest side spans 2."""

    center: Float[Tensor, "3"]
    scale: float

    @staticmethod
    def around(points: Float[Tensor, "n 3"]) -> UnitBox:
        """Raises `UserError` when the points have no extent."""
        low, high = (points.amin(0), points.amax(0)) if len(points) else (points.new_zeros(3), points.new_zeros(3))
        side = float((high - low).max())
        if not 0 < side < float("inf"):
            raise clear(
                "points of the clip", expected="finite ones with an extent", got=f"a longest side of {side}",
                do="check the depth files and masks",
            )  # fmt: skip
        return UnitBox((low + high) / 2, 2 / side)

    def inside(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        return (points - self.center.to(points)) * self.scale

    def outside(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Back in the world."""
        return points / self.scale + self.center.to(points)
