"""The canonical view: all pointmaps that were predicted of one photo, averaged into one.

A photo i met in B pairs has B pointmaps X in its own frame, with confidences C. With weights w = C − 0.999 (a
confidence is 1 where the network knows nothing) the canonical pointmap is Σ w X / Σ w. Depth *within* a block of
pixels is averaged apart, relative to the block's anchor a, because the pointmaps differ in scale: the angle

    θ = arctan((z − z_a) / r),   r = |(x, y) − (x_a, y_a)|

is free of scale, and mean(r) tan(Σ w θ / Σ w) turns the mean angle back into a step of depth (MASt3R-SfM, Duisterhof
et al. 2024, arXiv:2409.19152, §3.2; "avg-angle" and "avg-reldepth" of its published code).

Masks: a background pixel has weight 0. Where no pointmap has any weight, here and there or all over a block, the mean
falls back to the plain one, so that no number is ever missing; its confidence is 0, and the anchors of blocks without
foreground are unusable. The published code divides 0 by 0 there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.alignment.anchors import AnchorGrid, anchor_grid
from rilievo.errors import clear

IGNORANCE = 0.999
"""What is taken off a confidence to make a weight."""
VANISHING = 1e-9
"""Weight of a pixel without weight: far below rounding of any other, yet it makes a mean of nothing a plain one."""


class Relief(StrEnum):
    """How depth within a block is averaged."""

    ANGLE = "angle"
    RATIO = "ratio"
    """The ratio of depths, Σ w (z / z_a) / Σ w: sharper at edges of depth, but noisier on slopes."""


@dataclass(frozen=True)
class CanonicalView:
    """One photo's averaged geometry, in its camera's frame."""

    points: Float[Tensor, "h w 3"]
    relative_depth: Float[Tensor, "h w"]
    """Depth over the depth of the block's anchor."""
    confidence: Float[Tensor, "h w"]
    """Σ w² / Σ w; 0 in the background."""
    grid: AnchorGrid


class CanonicalAverage:
    """Running sums of one photo's pointmaps: memory does not grow with their number."""

    def __init__(
        self,
        height: int,
        width: int,
        step: int,
        mask: Bool[Tensor, "h w"] | None = None,
        relief: Relief = Relief.ANGLE,
        like: Tensor | None = None,
    ) -> None:
        like = torch.zeros(0) if like is None else like
        self.grid = anchor_grid(height, width, step, mask, like.device)
        self.mask, self.relief, self.count = mask, relief, 0
        self._anchor_of_pixel = self.grid.of_every_pixel()
        self._points = like.new_zeros(height, width, 3)
        self._weight, self._square, self._bend, self._radius = (like.new_zeros(height, width) for _ in range(4))

    def add(self, X: Float[Tensor, "h w 3"], C: Float[Tensor, "h w"]) -> None:
        """Take in one more pointmap; points and confidences that are not finite have no weight."""
        finite = torch.isfinite(X).all(dim=-1) & torch.isfinite(C)
        X = torch.where(finite[..., None], X, 0)
        w = torch.where(finite, C - IGNORANCE, 0).clamp_min(0)
        w = w if self.mask is None else w * self.mask
        self._square += w * w
        w = w + VANISHING * finite
        self._weight += w
        self._points += w[..., None] * X
        at_anchor = X.reshape(-1, 3)[self._anchor_of_pixel]
        depth = at_anchor[..., 2].clamp_min(torch.finfo(X.dtype).eps)
        if self.relief is Relief.RATIO:
            self._bend += w * X[..., 2] / depth
        else:
            radius = torch.linalg.vector_norm(X[..., :2] - at_anchor[..., :2], dim=-1).clamp_min(1e-8)
            self._bend += w * torch.atan((X[..., 2] - depth) / radius)
            self._radius += radius
        self.count += 1

    def view(self) -> CanonicalView:
        """The average of what has been added. Raises `UserError` where nothing has."""
        if self.count == 0:
            raise clear(
                "canonical view",
                expected="at least one pair with this photo",
                got="none",
                do="add pairs, or leave the photo out",
            )
        total = self._weight.clamp_min(VANISHING)
        points, relative = self._points / total[..., None], self._bend / total
        if self.relief is Relief.ANGLE:
            depth = points[..., 2].reshape(-1)[self._anchor_of_pixel]
            tiny = torch.finfo(depth.dtype).eps
            depth = torch.where(depth.abs() < tiny, tiny, depth)
            relative = 1 + self._radius / self.count * torch.tan(relative) / depth
        return CanonicalView(points, relative, self._square / total, self.grid)


def canonical_view(
    pointmaps: Float[Tensor, "b h w 3"],
    confidences: Float[Tensor, "b h w"],
    step: int,
    mask: Bool[Tensor, "h w"] | None = None,
    relief: Relief = Relief.ANGLE,
) -> CanonicalView:
    """The canonical view of pointmaps that are at hand all at once; `step` is the blocks' side in pixels."""
    height, width = confidences.shape[1:]
    average = CanonicalAverage(height, width, step, mask, relief, like=pointmaps)
    for X, C in zip(pointmaps, confidences, strict=True):
        average.add(X, C)
    return average.view()
