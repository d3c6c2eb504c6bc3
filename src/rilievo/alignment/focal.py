"""Focal length of a pinhole from a pointmap in its own camera's frame.

Every pixel (u, v), counted from the principal point, votes: u = f x/z, v = f y/z. The *median* of the votes u z/x and
v z/y is one answer; the other minimises Σ |(u, v) − f (x, y)/z| by reweighted least squares (Weiszfeld 1937; DUSt3R,
Wang et al. 2024, arXiv:2312.14132, §3.3).
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ROUNDS = 10
FIELD_OF_VIEW = math.radians(60)
"""Of a lens that is neither wide nor long: bounds are in units of its focal length, and where nothing is known it is
taken."""
FEWEST = 8
"""Foreground pixels below which the whole photo votes: a pointmap is one camera's, object and background alike."""


class FocalFrom(StrEnum):
    MEDIAN = "median"
    WEISZFELD = "weiszfeld"


def ordinary_focal(height: int, width: int) -> float:
    """Focal length in px that spans 60 degrees on the image's longer side."""
    return max(height, width) / (2 * math.tan(FIELD_OF_VIEW / 2))


def focal_from_points(
    points: Float[Tensor, "h w 3"],
    principal_point: Float[Tensor, "2"],
    mask: Bool[Tensor, "h w"] | None = None,
    method: FocalFrom = FocalFrom.WEISZFELD,
    least: float = 0.0,
    most: float = math.inf,
) -> Float[Tensor, ""]:
    """Focal length in px of a pointmap in the frame of its own camera.

    `principal_point` counts from the centre of the top left pixel; `least` and `most` are in units of the 60-degree
    focal length. Only foreground votes, unless there is hardly any. Where no vote is a positive number, as for a
    pointmap of zeros, the 60-degree focal length is returned.
    """
    height, width = points.shape[:2]
    ordinary = ordinary_focal(height, width)
    x = torch.arange(width, dtype=points.dtype, device=points.device).expand(height, width)
    y = torch.arange(height, dtype=points.dtype, device=points.device)[:, None].expand(height, width)
    pixels = torch.stack((x, y), dim=-1) - principal_point
    votes = torch.isfinite(points).all(dim=-1)
    if mask is not None and int((votes & mask).sum()) >= FEWEST:
        votes = votes & mask
    estimate = _median if method is FocalFrom.MEDIAN else _weiszfeld
    focal = estimate(pixels[votes], points[votes])
    focal = torch.where(torch.isfinite(focal) & (focal > 0), focal, ordinary)
    return focal.clamp(least * ordinary, most * ordinary)


def _median(pixels: Tensor, points: Tensor) -> Tensor:
    votes = pixels * points[:, 2:] / points[:, :2]
    return torch.nanmedian(votes.reshape(-1)) if len(votes) else pixels.new_tensor(math.nan)


def _weiszfeld(pixels: Tensor, points: Tensor) -> Tensor:
    flat = (points[:, :2] / points[:, 2:]).nan_to_num(posinf=0, neginf=0)
    across, along = (flat * pixels).sum(-1), (flat * flat).sum(-1)
    focal = across.sum() / along.sum()
    for _ in range(ROUNDS):
        w = 1 / torch.linalg.vector_norm(pixels - focal * flat, dim=-1).clamp_min(1e-8)
        focal = (w * across).sum() / (w * along).sum()
    return focal
