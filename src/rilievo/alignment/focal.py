"""Focal length of a pinhole from a pointmap in its own camera's frame.

Every pixel (u, v), counted from the principal point, votes: u = f x/z, v = f y/z. The *median* of the votes u z/x and
v z/y is one answer; the other minimises Σ w |(u, v) − f (x, y)/z| by reweighted least squares (Weiszfeld 1937; DUSt3R,
Wang et al. 2024, arXiv:2312.14132, §3.3).

Positions are ours, a pixel's centre at +0.5. The published networks' pointmaps go with pixels counted from the centre
of the top left one and a principal point (w/2, h/2) in that count, which is ((w + 1)/2, (h + 1)/2) here.
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ROUNDS = 10
FIELD_OF_VIEW = math.radians(60)
"""Of a lens neither wide nor long. Bounds are in units of its focal length, and where nothing is known it is taken."""
FEWEST = 8
"""Foreground pixels below which the whole photo votes: a pointmap is one camera's, object and background alike."""


class FocalFrom(StrEnum):
    MEDIAN = "median"
    WEISZFELD = "weiszfeld"


def ordinary_focal(height: int, width: int) -> float:
    """Focal length in px that spans 60 degrees on the image's longer side."""
    return max(height, width) / (2 * math.tan(FIELD_OF_VIEW / 2))


def focal_from_pointmap(
    X: Float[Tensor, "h w 3"],
    weights: Float[Tensor, "h w"],
    principal_point: Float[Tensor, "2"],
    method: FocalFrom = FocalFrom.WEISZFELD,
) -> Float[Tensor, ""]:
    """Focal length in px; NaN where no pixel of positive weight has a say. Medians count such pixels once each."""
    votes = (weights > 0) & torch.isfinite(X).all(dim=-1)
    y, x = torch.nonzero(votes, as_tuple=True)
    pixels = torch.stack((x, y), dim=-1) + 0.5 - principal_point.to(X)
    if len(pixels) == 0:
        return X.new_tensor(math.nan)
    points, w = X[votes], weights[votes].to(X)
    focal = _median(pixels, points) if method is FocalFrom.MEDIAN else _weiszfeld(pixels, points, w)
    return torch.where(torch.isfinite(focal) & (focal > 0), focal, math.nan)


def bounded_focal(
    X: Float[Tensor, "h w 3"],
    principal_point: Float[Tensor, "2"],
    mask: Bool[Tensor, "h w"] | None = None,
    method: FocalFrom = FocalFrom.WEISZFELD,
    least: float = 0.5,
    most: float = 3.5,
) -> Float[Tensor, ""]:
    """Focal length in px between `least` and `most` times the 60-degree one.

    Only foreground votes, unless there is hardly any; where nothing has a say, as in a pointmap of zeros, the 60-degree
    focal length is returned.
    """
    ordinary = ordinary_focal(*X.shape[:2])
    everywhere = torch.ones_like(X[..., 0])
    focal = X.new_tensor(math.nan)
    if mask is not None and int(mask.sum()) >= FEWEST:
        focal = focal_from_pointmap(X, everywhere * mask, principal_point, method)
    if not torch.isfinite(focal):
        focal = focal_from_pointmap(X, everywhere, principal_point, method)
    return torch.where(torch.isfinite(focal), focal, ordinary).clamp(least * ordinary, most * ordinary)


def _median(pixels: Tensor, points: Tensor) -> Tensor:
    return torch.nanmedian((pixels * points[:, 2:] / points[:, :2]).reshape(-1))


def _weiszfeld(pixels: Tensor, points: Tensor, weights: Tensor) -> Tensor:
    flat = (points[:, :2] / points[:, 2:]).nan_to_num(posinf=0, neginf=0)
    across, along = weights * (flat * pixels).sum(-1), weights * (flat * flat).sum(-1)
    focal = across.sum() / along.sum()
    for _ in range(ROUNDS):
        w = 1 / torch.linalg.vector_norm(pixels - focal * flat, dim=-1).clamp_min(1e-8)
        focal = (w * across).sum() / (w * along).sum()
    return focal
