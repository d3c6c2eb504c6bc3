"""What the sparse aligner solves: every match as a few numbers in flat arrays, so that no loop runs over pairs.

A *sighting* is a matched pixel of a view, hung on one of the view's anchors (see `anchors`). A match joins two
sightings. Where a pair's matches are too unsure, its sightings are instead drawn to the pointmap that the partner
predicted (the regression of DUSt3R, Wang et al. 2024, arXiv:2312.14132, eq. 5).

Pixels count from the centre of the top left pixel, (0, 0), as the networks' pointmaps do; `cameras` calls it
(0.5, 0.5). The step between them is taken in `sparse`, nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.alignment.spanning_tree import KinematicTree

NEAREST_FOCAL, FARTHEST_FOCAL = 0.25, 10.0
"""Bounds of focal lengths in image diagonals."""


@dataclass(frozen=True)
class Sightings:
    """Pixels with a depth that hangs on an anchor."""

    view: Int64[Tensor, "s"]
    pixel: Float[Tensor, "s 2"]
    anchor: Int64[Tensor, "s"]
    """Index into the anchors of all views."""
    offset: Float[Tensor, "s"]
    """Depth over the anchor's depth, at the view's base focal length."""


@dataclass(frozen=True)
class Matches:
    """Pairs of sightings of one point."""

    first: Int64[Tensor, "m"]
    second: Int64[Tensor, "m"]
    confidence: Float[Tensor, "m"]


@dataclass(frozen=True)
class Regression:
    """Sightings of weakly matched pairs, each drawn to a point that the partner's prediction gives it."""

    sighting: Int64[Tensor, "r"]
    frame: Int64[Tensor, "r"]
    """The view in whose camera frame the target stands."""
    target: Float[Tensor, "r 3"]
    weight: Float[Tensor, "r"]

    @classmethod
    def none(cls, like: Float[Tensor, "..."]) -> Regression:
        """No weak pair."""
        index = torch.zeros(0, dtype=torch.int64, device=like.device)
        return cls(index, index, like.new_zeros(0, 3), like.new_zeros(0))


@dataclass(frozen=True)
class Fixed:
    """What is known and stays. All False where nothing is."""

    focal: Bool[Tensor, "n"]
    pose: Bool[Tensor, "n"]
    depth: Bool[Tensor, "n"]

    @classmethod
    def nothing(cls, like: Tensor) -> Fixed:
        free = torch.zeros(len(like), dtype=torch.bool, device=like.device)
        return cls(free, free.clone(), free.clone())

    @property
    def scale(self) -> bool:
        """Whether what is fixed says how large the world is: two poses do, or one depth map."""
        return bool(self.depth.any()) or int(self.pose.sum()) > 1


@dataclass(frozen=True)
class Problem:
    """n views, their anchors one view after another, and all matches."""

    sizes: Float[Tensor, "n 2"]
    """Width and height in px."""
    principal_points: Float[Tensor, "n 2"]
    """In px; where the optimisation starts."""
    base_focals: Float[Tensor, "n"]
    """In px, at which the offsets were measured and the optimisation starts."""
    anchor_view: Int64[Tensor, "a"]
    """Ascending."""
    anchor_pixel: Float[Tensor, "a 2"]
    core_depth: Float[Tensor, "a"]
    median_depth: Float[Tensor, "n"]
    """Of the anchors that matter (on the object, where masks are), view by view."""
    sightings: Sightings
    matches: Matches
    regression: Regression
    tree: KinematicTree
    confidence: Float[Tensor, "n"]
    """Weight of each view in intrinsics that are shared."""
    fixed: Fixed
    world_from_cam: Float[Tensor, "n 4 4"] | None = None
    """Poses to start from, or to keep where `fixed.pose`; None starts with all cameras looking at one place."""
    start_sizes: Float[Tensor, "n"] | None = None
    """Factors from core depths to the world of the known poses; None is 1."""

    @property
    def views(self) -> int:
        return len(self.sizes)

    @property
    def focal_bounds(self) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        diagonal = torch.linalg.vector_norm(self.sizes, dim=-1)
        return NEAREST_FOCAL * diagonal, FARTHEST_FOCAL * diagonal


def median_depths(
    core_depth: Float[Tensor, "a"], anchor_view: Int64[Tensor, "a"], usable: Bool[Tensor, "a"], views: int
) -> Float[Tensor, "n"]:
    """Median core depth of each view's usable anchors; of all its anchors where none is."""
    medians = []
    for view in range(views):
        own = anchor_view == view
        good = own & usable
        medians.append(core_depth[good if good.any() else own].median())
    return torch.stack(medians)
