"""The similarity between two sets of poses that takes orientation into account, as DUSt3R aligns to known poses.

Every camera gives two points: its centre, and one a hundredth of the median distance between cameras ahead of it. The
similarity is least squares on both sets. Unlike `geometry.alignment.align_cameras`, centres dominate: it is meant for
known poses, whose centres can be trusted.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.errors import clear
from rilievo.geometry import se3, sim3

AHEAD = 0.01


def align_multiple_poses(source: Float[Tensor, "n 4 4"], target: Float[Tensor, "n 4 4"]) -> Float[Tensor, "4 4"]:
    """target_from_source for n >= 1 rigid poses; a single pair leaves the scale at 1.

    Raises `UserError` where all centres of a set coincide although those of the other do not, or where everything,
    viewing directions too, lies on one line.
    """
    if len(source) == 1:
        return target[0] @ se3.inverse(source[0])
    if _median_distance(source) == 0 or _median_distance(target) == 0:
        raise clear(
            "poses to align", expected="cameras in different places", got="all in one place", do="leave the poses free"
        )
    return sim3.similarity_from_points(_centers_and_ahead(source), _centers_and_ahead(target))


def _centers_and_ahead(poses: Tensor) -> Tensor:
    ahead = AHEAD * _median_distance(poses)
    return torch.cat((poses[:, :3, 3], poses[:, :3, 3] + ahead * poses[:, :3, 2]))


def _median_distance(poses: Tensor) -> Tensor:
    return torch.nn.functional.pdist(poses[:, :3, 3].contiguous()).quantile(0.5)
