"""Planes that look alike in several photographs: a random search round a first guess (PatchMatch stereo, Bleyer et al.
2011; Gipuma, Galliani et al. 2015), pixel by pixel and without propagation, since the guesses are good already.

A pixel's plane is its depth t along the ray and a normal n towards the eye. In each round both are disturbed, less and
less, and what correlates better with the other pictures is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.losses.gaussian_udf import best_view_ncc
from rilievo.renderers.patch_blend import SourceViews, patch_offsets, plane_patches

from .other_views import OtherViews

SHRINK = 0.85
"""What is left of the disturbance after each round."""
TILT = 0.6
"""First disturbance of normals, per component."""
MOST_SLANTED = 0.2
"""Least cosine between a normal and its ray."""


@dataclass(frozen=True)
class PixelPlane:
    """Planes on rays of one view, in its camera's axes."""

    t: Float[Tensor, "n"]
    normals: Float[Tensor, "n 3"]
    error: Float[Tensor, "n"]
    """1 - squared correlation, in [0, 1]."""


def search(
    others: OtherViews,
    view: int,
    pixels: Int64[Tensor, "n 2"],
    t: Float[Tensor, "n"],
    *,
    reach: float,
    rounds: int,
    half: int,
    generator: torch.Generator,
) -> PixelPlane:
    """Planes of pixels (column, row) of a training view, from guesses that are off by about `reach`.

    Without another picture of its size the guesses stay, with an error of 1.
    """
    camera = others.pictures[view].camera
    K, cam_from_world = camera.K[0].float(), camera.cam_from_world[0].float()
    rays = F.normalize(F.pad((pixels + 0.5 - K[:2, 2]) / K[[0, 1], [0, 1]], (0, 1), value=1.0), dim=-1)
    best = PixelPlane(t, -rays, torch.ones_like(t))
    sources = others.near(view)
    if sources is None or not len(t):
        return best
    reference = _patches(others.grey(view), pixels, half)
    for i in range(rounds):
        share = SHRINK**i if i else 0.0
        moved = best.t + share * reach * torch.randn(len(t), generator=generator)
        turned = F.normalize(best.normals + share * TILT * torch.randn(len(t), 3, generator=generator), dim=-1)
        slanted = -(turned * rays).sum(-1) < MOST_SLANTED
        turned = torch.where(slanted[:, None], best.normals, turned)
        plane = PixelPlane(moved, turned, best.error)
        tried = _compared(reference, sources, pixels, plane, rays, half, K, cam_from_world)
        better = tried < best.error
        best = PixelPlane(
            torch.where(better, moved, best.t),
            torch.where(better[:, None], turned, best.normals),
            torch.where(better, tried, best.error),
        )
    return best


def _compared(
    reference: Float[Tensor, "n patch"],
    sources: SourceViews,
    pixels: Int64[Tensor, "n 2"],
    plane: PixelPlane,
    rays: Float[Tensor, "n 3"],
    half: int,
    K: Float[Tensor, "3 3"],
    cam_from_world: Float[Tensor, "4 4"],
) -> Float[Tensor, "n"]:
    distance = -(plane.normals * rays).sum(-1) * plane.t
    seen, valid = plane_patches(pixels + 0.5, plane.normals, distance, half, K, cam_from_world, sources)
    return best_view_ncc(reference, torch.where(valid[:, :, None], seen[..., 0], 0), max(1, len(sources.images) // 2))


def _patches(grey: Float[Tensor, "h w"], pixels: Int64[Tensor, "n 2"], half: int) -> Float[Tensor, "n patch"]:
    """Patches round pixels, the picture going on as at its border."""
    around = pixels[:, None] + patch_offsets(half)
    height, width = grey.shape
    return grey[around[..., 1].clamp(0, height - 1), around[..., 0].clamp(0, width - 1)]
