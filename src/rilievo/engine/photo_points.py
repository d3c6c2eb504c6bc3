"""Points where photographs agree: a first guess of where things are, for captures that come without points.

A random pixel of a random photo is followed into the scene, and of all depths tried (even in inverse distance) the one
is taken at which the nearest other cameras see the same small patch: a plane sweep, one pixel at a time (Collins 1996).
It is often wrong, and far better than chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.cameras.rays import Rays
from rilievo.engine.view_sampler import Picture, ViewSampler, shrunk
from rilievo.geometry.box import ray_ball

NEIGHBOURS = 4
"""Cameras asked whether they see the same."""
SWEEP_SIDE = 160
"""Longest side of the pictures compared, in px: coarse, so that a patch spans something."""
PATCH = ((0.0, 0.0), (-1.5, -1.5), (1.5, -1.5), (-1.5, 1.5), (1.5, 1.5))
"""Pixels of a patch, from its middle."""
NEAREST = 0.2
"""Nearest depth tried, in distances from the camera to the region's centre."""
UNSEEN = 10.0
"""Cost of a depth that no other camera can judge."""


@dataclass(frozen=True)
class AgreedPoints:
    """Points on rays of training pixels, in the normalised scene's world."""

    xyz: Float[Tensor, "n 3"]
    rgb: Float[Tensor, "n 3"]
    """Of their pixels, sRGB in [0, 1]."""
    towards: Float[Tensor, "n 3"]
    """Unit, to the camera each was seen from."""
    picture: Int64[Tensor, "n"]
    """Which of the sampler's pictures that was of."""


def agreed_points(
    sampler: ViewSampler, count: int, *, depths: int, far: float, generator: torch.Generator
) -> AgreedPoints:
    """`count` points, the same number from each photo, at the best of `depths` depths each.

    `far` is the farthest guess beyond the region's centre, in region radii, where no masks say that there is only the
    object.
    """
    swept = [_Swept(picture) for picture in sampler.pictures]
    share = torch.bincount(torch.arange(count) % len(swept), minlength=len(swept)).tolist()
    found = []
    for i, (view, own) in enumerate(zip(swept, share)):
        pixels, rgb = view.draw(own, generator)
        rays = view.picture.camera.rays(torch.zeros(own, dtype=torch.int64), pixels * view.scale)
        t = _distances(rays, depths, far, sampler.object_masks, torch.rand(own, 1, generator=generator))
        cost = _disagreement(view, pixels, rays.at(t), _nearest(view, swept))
        best = torch.take_along_dim(t, cost.argmin(1, keepdim=True), dim=1)
        found.append((rays.at(best).squeeze(1), rgb, -rays.directions, torch.full((own,), i)))
    return AgreedPoints(*(torch.cat(part) for part in zip(*found)))


class _Swept:
    """A training picture made small for comparing: colours and coverage, where it is supervised."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        factor = min(1.0, SWEEP_SIDE / max(picture.camera.sizes_px[0].tolist()))
        self.camera, rgb, coverage, self.supervised = shrunk(picture, factor)
        self.image = torch.cat((rgb, coverage[..., None]), dim=-1)
        self.size = self.camera.sizes_px[0].float()
        self.scale = picture.camera.sizes_px[0].double() / self.camera.sizes_px[0]

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random points of the small picture on the object, in its px, and their colours."""
        wanted = (self.supervised & (self.image[..., 3] > 0.5)).flatten().nonzero().squeeze(1)
        if not len(wanted):
            wanted = torch.arange(self.supervised.numel())
        chosen = wanted[torch.randint(len(wanted), (count,), generator=generator)]
        width = self.image.shape[1]
        corner = torch.stack((chosen % width, chosen // width), dim=-1)
        pixels = corner + torch.rand(count, 2, generator=generator)
        return pixels.double(), self.image.flatten(0, 1)[chosen, :3]

    def look(self, pixels: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 4"]:
        """Colour and coverage at pixels, between four; at the border beyond it."""
        grid = (2 * pixels.float() / self.size - 1).reshape(1, 1, -1, 2)
        seen = F.grid_sample(self.image.movedim(-1, 0)[None], grid, padding_mode="border", align_corners=False)
        return seen[0, :, 0].movedim(0, -1).reshape(*pixels.shape[:-1], 4)


def _distances(
    rays: Rays, depths: int, far: float, inside: bool, jitter: Float[Tensor, "r 1"]
) -> Float[Tensor, "r depths"]:
    """Distances to try along rays, even in inverse distance; within the unit ball where it holds all there is."""
    center = torch.zeros(3)
    to_center = torch.linalg.vector_norm(rays.origins, dim=-1)
    nearest, farthest = (NEAREST * to_center).clamp_min(0.05), far + to_center
    if inside:
        entry, leave = ray_ball(rays.origins, rays.directions, center, 1.0)
        hit = leave > 0
        nearest, farthest = torch.where(hit, entry.clamp_min(0.05), nearest), torch.where(hit, leave, farthest)
    steps = (torch.arange(depths) + jitter) / depths
    return 1 / (steps / farthest[:, None] + (1 - steps) / nearest[:, None])


def _nearest(view: _Swept, others: list[_Swept]) -> list[_Swept]:
    """The cameras that stand nearest and look the same way within 60°."""
    away = [
        float(torch.linalg.vector_norm(o.camera.centers[0] - view.camera.centers[0]))
        for o in others
        if o is not view and float(o.camera.forwards[0] @ view.camera.forwards[0]) > 0.5
    ]
    alike = [o for o in others if o is not view and float(o.camera.forwards[0] @ view.camera.forwards[0]) > 0.5]
    return [alike[i] for i in np.argsort(away, kind="stable")[:NEIGHBOURS]]


def _disagreement(
    view: _Swept, pixels: Float[Tensor, "r 2"], points: Float[Tensor, "r depths 3"], others: list[_Swept]
) -> Float[Tensor, "r depths"]:
    """Mean difference between the patch here and where the other cameras see the points, over those that do."""
    total, judges = torch.zeros(points.shape[:2]), torch.zeros(points.shape[:2])
    patch = torch.tensor(PATCH, dtype=pixels.dtype)
    here = view.look(pixels[:, None] + patch)[:, None]  # [r, 1, patch, 4]
    for other in others:
        there, _ = other.camera.project(0, points.flatten(0, 1).double())
        there = there.view(*points.shape[:2], 2)
        seen = ((there >= 0) & (there <= other.size)).all(-1)
        difference = (other.look(there.nan_to_num(0)[:, :, None] + patch) - here).abs().mean((-1, -2))
        total += torch.where(seen, difference, 0)
        judges += seen
    return torch.where(judges > 0, total / judges.clamp_min(1), UNSEEN)
