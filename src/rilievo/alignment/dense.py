"""Dense depth and points: every pixel hung on the anchors that were solved for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.alignment.anchors import hang
from rilievo.alignment.canonical import CanonicalView
from rilievo.alignment.problem import Sightings
from rilievo.alignment.residuals import points_in_camera
from rilievo.alignment.scene_state import Geometry


@dataclass(frozen=True)
class DenseView:
    """One photo's geometry in the world, pixel by pixel."""

    points: Float[Tensor, "h w 3"]
    depth: Float[Tensor, "h w"]
    """Along camera z."""
    confidence: Float[Tensor, "h w"]
    """0 where there is nothing to believe: in the background, behind the camera, without an anchor."""


def densify(geometry: Geometry, views: Sequence[CanonicalView]) -> list[DenseView]:
    """Dense depth and points of all views, from the anchors' depths and the canonical views' relief."""
    dense, first_anchor = [], 0
    for index, view in enumerate(views):
        dense.append(_dense_view(geometry, view, index, first_anchor))
        first_anchor += len(view.grid)
    return dense


def _dense_view(geometry: Geometry, view: CanonicalView, index: int, first_anchor: int) -> DenseView:
    height, width = view.confidence.shape
    y = torch.arange(height, device=view.points.device)[:, None].expand(height, width)
    x = torch.arange(width, device=view.points.device).expand(height, width)
    xy = torch.stack((x, y), dim=-1).reshape(-1, 2).to(view.points)
    hung = hang(view.relative_depth, xy, view.grid)
    here = torch.full_like(hung.anchor, index)
    in_cam = points_in_camera(geometry, Sightings(here, xy, hung.anchor + first_anchor, hung.offset))
    points = in_cam @ geometry.R[index].mT + geometry.t[index]
    good = hung.valid & torch.isfinite(points).all(dim=-1) & (in_cam[:, 2] > 0)
    return DenseView(
        points=points.view(height, width, 3),
        depth=in_cam[:, 2].reshape(height, width),
        confidence=view.confidence * good.view(height, width),
    )
