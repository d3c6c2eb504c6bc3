"""Depth maps fused into one surface: a truncated signed distance that all views vote on (Curless and Levoy 1996).

A point at depth z in a view whose surface there has depth D is (D − z)/τ before that surface, cut to [−1, 1]; further
than τ behind it the view knows nothing. The weighted mean over views is the field, < 0 inside; where no view knows
anything it is −1, and faces that end at the unknown rather than at a seen surface are taken away again.

Outside its mask a view knows nothing if masks say what to ignore, and that space is empty if they say where the object
is: that is where the two meanings part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from rilievo.alignment.dense import DenseView
from rilievo.data.scene import MaskMeaning
from rilievo.errors import clear
from rilievo.geometry import se3
from rilievo.geometry.mesh import TriMesh
from rilievo.meshing import cleaned, extract_surface

VOXELS_OF_TRUNCATION = 4.0
"""τ in voxels: wide enough that a vote outlives its noise, narrow enough for thin things."""


@dataclass(frozen=True)
class FusedDepth:
    """The field and the colours of fused views."""

    views: Sequence[DenseView]
    K: Float[Tensor, "n 3 3"]
    """In px, a pixel's centre at +0.5."""
    world_from_cam: Float[Tensor, "n 4 4"]
    truncation: float
    least_confidence: float
    empty: Sequence[Bool[Tensor, "_h _w"]] | None = None
    """Pixels of each view whose rays meet nothing."""
    images: Sequence[UInt8[Tensor, "_h _w 3"]] | None = None

    def distance(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, "p"]:
        """The field in units of the truncation."""
        total, votes = torch.zeros_like(points[:, 0]), torch.zeros_like(points[:, 0])
        for index in range(len(self.views)):
            gap, weight, empty = self._vote(index, points)
            total += weight * gap.clamp(-1, 1) + empty
            votes += weight + empty
        return torch.where(votes > 0, total / votes.clamp_min(1e-12), -1)

    def seen(self, points: Float[Tensor, "p 3"]) -> Bool[Tensor, "p"]:
        """Whether some view has a surface within half a truncation of each point."""
        seen = torch.zeros_like(points[:, 0], dtype=torch.bool)
        for index in range(len(self.views)):
            gap, weight, _ = self._vote(index, points)
            seen |= (weight > 0) & (gap.abs() < 0.5)
        return seen

    def color(self, points: Float[Tensor, "p 3"], _normals: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
        """sRGB of surface points in [0, 1], the mean of the views that see them."""
        assert self.images is not None, "colour needs photos"
        total, votes = torch.zeros_like(points), torch.zeros_like(points[:, :1])
        for index, image in enumerate(self.images):
            gap, weight, _ = self._vote(index, points)
            weight = (weight * (gap.abs() < 1))[:, None]
            at = self._grid(index, points)[0]
            total += weight * _sampled(image.to(points).permute(2, 0, 1) / 255, at, "bilinear").T
            votes += weight
        return total / votes.clamp_min(1e-12)

    def _grid(self, index: int, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where a view sees points, in [-1, 1] over its image, and their depth there."""
        in_cam = se3.inverse(self.world_from_cam[index]).to(points)
        in_cam = points @ in_cam[:3, :3].mT + in_cam[:3, 3]
        z = in_cam[:, 2]
        flat = in_cam @ self.K[index].to(points).mT
        height, width = self.views[index].depth.shape
        pixels = flat[:, :2] / torch.where(z > 0, z, 1)[:, None]
        return torch.where((z > 0)[:, None], 2 * pixels / pixels.new_tensor([width, height]) - 1, 2), z

    def _vote(self, index: int, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(D − z)/τ, the view's confidence where it knows it and else 0, and 1 where it knows that there is nothing."""
        view = self.views[index]
        at, z = self._grid(index, points)
        inside = (at.abs() <= 1).all(dim=-1)
        depth, nearest = (_sampled(view.depth.to(points)[None], at, mode)[0] for mode in ("bilinear", "nearest"))
        sure = _sampled(view.confidence.to(points)[None], at, "nearest")[0]
        gap = (depth - z) / self.truncation
        smooth = (depth - nearest).abs() < self.truncation  # not across an edge of depth
        known = inside & smooth & (sure > self.least_confidence) & (gap > -1)
        empty = torch.zeros_like(z)
        if self.empty is not None:
            empty = _sampled(self.empty[index].to(points)[None], at, "nearest")[0] * inside
        return gap, sure * known, empty


def fuse(
    views: Sequence[DenseView],
    K: Float[Tensor, "n 3 3"],
    world_from_cam: Float[Tensor, "n 4 4"],
    resolution: int = 256,
    least_confidence: float = 1.5,
    masks: Sequence[Bool[Tensor, "_h _w"]] | None = None,
    meaning: MaskMeaning = MaskMeaning.IGNORE,
    images: Sequence[UInt8[Tensor, "_h _w 3"]] | None = None,
) -> TriMesh:
    """Mesh of the surfaces that the views are sure of, `resolution` voxels along the longest side, with vertex colours
    where there are `images`.

    Raises `UserError` where no view is sure of anything.
    """
    points = torch.cat([view.points[view.confidence > least_confidence] for view in views])
    if len(points) == 0:
        raise clear(
            "depth to be fused",
            expected=f"pixels with a confidence above {least_confidence}",
            got="none",
            do="lower the least confidence, or check the masks",
        )
    low, high = (torch.quantile(points[:: len(points) // 100_000 + 1], q, dim=0) for q in (0.005, 0.995))
    truncation = VOXELS_OF_TRUNCATION * float((high - low).max()) / resolution
    empty = None
    if masks is not None and meaning is MaskMeaning.OBJECT:
        empty = [~mask for mask in masks]
    field = FusedDepth(views, K, world_from_cam, truncation, least_confidence, empty, images)
    margin = 2 * truncation
    mesh = extract_surface(
        field.distance, low - margin, high + margin, resolution, coarse=4, refine=0,
        color=None if images is None else field.color,
    )  # fmt: skip
    if len(mesh.faces) == 0:
        return mesh
    seen = field.seen(torch.from_numpy(np.ascontiguousarray(mesh.vertices)).to(points)).cpu().numpy()
    return cleaned(mesh.with_faces(seen[mesh.faces].all(axis=1)), min_fraction=0.01)


def _sampled(maps: Float[Tensor, "c h w"], at: Float[Tensor, "p 2"], mode: str) -> Float[Tensor, "c p"]:
    return functional.grid_sample(
        maps[None], at[None, None], mode=mode, padding_mode="border", align_corners=False
    )[0, :, 0]  # fmt: skip
