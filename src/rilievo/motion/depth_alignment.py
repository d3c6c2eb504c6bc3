"""Monocular depth brought to the scale of the geometry, frame by frame.

An estimate m is right up to a rising map that changes from frame to frame. Against depths z known at some pixels
(triangulated from static matches, or a reference frame's) each frame gets z ≈ a m^p + b: scale a, shift b and, where
asked for, a power p. The fit minimises relative residuals under Huber's loss by reweighting, so that moving or
mismatched pixels hardly pull.

`scale_to_reference` is the published second step (MoDGS): one factor per frame, least squares, on pixels that stand
still under a fixed camera (`static_pixels`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.errors import clear

POWERS = tuple(0.4 + 0.1 * k for k in range(27))
"""Tried by `fit_depth_map`: 0.4 … 3."""
HUBER = 0.02
"""Relative residual from which on a pixel pulls with constant force."""
ROUNDS = 12
LEAST_PIXELS = 30
STILL_PX = 0.8
"""Flow shorter than this in all frames marks a static pixel."""


@dataclass(frozen=True)
class DepthMap:
    """m ↦ scale · m^power + shift."""

    scale: float
    shift: float
    power: float = 1.0
    error: float = 0.0
    """Median relative residual of the fit."""

    def __call__(self, estimate: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Aligned depth; what is not finite, not positive, or comes out behind the camera is 0 (unknown)."""
        known = estimate.isfinite() & (estimate > 0)
        aligned = self.scale * torch.where(known, estimate, 1) ** self.power + self.shift
        return torch.where(known & (aligned > 0), aligned, 0)


def fit_depth_map(
    estimate: Float[Tensor, "n"], depth: Float[Tensor, "n"], powers: Sequence[float] = (1.0,)
) -> DepthMap:
    """The best map over the given powers, by the robust cost. Pixels that are not finite and positive are left out.

    Raises `UserError` when fewer than 30 pixels remain, or every fit falls with the estimate.
    """
    used = estimate.isfinite() & depth.isfinite() & (estimate > 0) & (depth > 0)
    m, z = estimate[used].double(), depth[used].double()
    if len(m) < LEAST_PIXELS:
        raise clear(
            "depth alignment",
            expected=f"at least {LEAST_PIXELS} pixels with an estimate and a known depth",
            got=str(len(m)),
            do="check that depth files belong to their frames and are not empty, and that the camera moves",
        )
    fits = [_robust(m**power, z, power) for power in powers]
    rising = [(cost, fit) for cost, fit in fits if fit.scale > 0]
    if not rising:
        raise clear(
            "depth alignment",
            expected="estimates that are larger farther away",
            got="estimates that fall with depth",
            do="invert them if they are disparities",
        )
    return min(rising, key=lambda pair: pair[0])[1]


def scale_to_reference(
    depths: Float[Tensor, "t h w"], reference: int, static: Bool[Tensor, "h w"]
) -> Float[Tensor, "t"]:
    """Factor per frame that brings its static depths nearest to the reference frame's, without a shift."""
    still = depths[:, static]
    return (still * still[reference]).sum(1) / still.square().sum(1)


def static_pixels(flows: Float[Tensor, "n h w 2"], still_px: float = STILL_PX) -> Bool[Tensor, "h w"]:
    """Pixels that move less than `still_px` in every flow of a clip from a fixed camera."""
    return (flows.norm(dim=-1) < still_px).all(0)


def _robust(x: Tensor, z: Tensor, power: float) -> tuple[float, DepthMap]:
    """Huber's line through (x, z), residuals relative to z, by iteratively reweighted least squares."""
    A, weight = torch.stack((x, torch.ones_like(x)), dim=1) / z[:, None], torch.ones_like(z)
    for _ in range(ROUNDS):
        normal = A.mT @ (weight[:, None] * A)
        scale, shift = torch.linalg.lstsq(normal, (A * weight[:, None]).sum(0)).solution
        residual = (A[:, 0] * scale + A[:, 1] * shift - 1).abs()
        weight = HUBER / residual.clamp_min(HUBER)
    cost = torch.where(residual < HUBER, residual.square() / 2, HUBER * (residual - HUBER / 2)).mean()
    return float(cost), DepthMap(float(scale), float(shift), power, float(residual.median()))
