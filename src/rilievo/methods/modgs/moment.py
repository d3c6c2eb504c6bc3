"""The moment at which a view is shown when nobody tells: a camera of the capture at the time of its photo, any other in
the middle of the clip.

Cameras that stand still have the same pose in many photos. The k-th view of a pose in the cameras that are shown is
then taken for the k-th photo of that pose in the capture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.cameras.camera import Cameras

MIDDLE = 0.5
SAME = 1e-6
"""Largest difference of two poses that are one, in region radii and unit vectors."""


@dataclass(frozen=True)
class Moments:
    """Poses of a capture and their times; none of either for one without times."""

    poses: Float64[Tensor, "n 4 4"]
    times: Float[Tensor, "n"]

    def of(self, cameras: Cameras, index: int) -> float:
        """When to show camera `index`."""
        pose = cameras.world_from_cam[index].cpu()
        there = _same(self.poses, pose).nonzero()[:, 0]
        if not len(there):
            return MIDDLE
        rank = int(_same(cameras.world_from_cam[:index].cpu(), pose).sum())
        return float(self.times[there[min(rank, len(there) - 1)]])


def _same(poses: Float64[Tensor, "n 4 4"], pose: Float64[Tensor, "4 4"]) -> Tensor:
    return (poses - pose).abs().amax((1, 2)) < SAME if len(poses) else torch.zeros(0, dtype=torch.bool)
