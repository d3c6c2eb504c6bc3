"""A known surface of known material under new light: Monte-Carlo, with shadows and light that bounces.

The light that a point p sends to the eye along v is ∫ f_r (n·l) L(p, l) dl, where L comes from the surroundings if
nothing is in the way, and else from the surface that is, in the same manner, for as many bounces as asked. Half of the
directions are drawn by the reflectance, half by the surroundings; each counts with the mean density of both (the
balance heuristic, Veach & Guibas 1995).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.shading import brdf
from rilievo.shading.brdf import Material
from rilievo.shading.environment import Environment
from rilievo.shading.monte_carlo import even_squares

from .surface import KnownSurface, facing, lifted


@dataclass(frozen=True)
class PlacedLight:
    """Surroundings whose axes are those of the capture, seen from the world of the surface."""

    environment: Environment
    capture_from_world: Float[Tensor, "3 3"]
    """A rotation."""

    def radiance_towards(self, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return self.environment.radiance_towards(directions @ self.capture_from_world.mT)

    def sample(self, u: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return self.environment.sample(u) @ self.capture_from_world

    def pdf(self, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 1"]:
        return self.environment.pdf(directions @ self.capture_from_world.mT)


MaterialFn = Callable[[Float[Tensor, "n 3"]], Material]
BOUNCED_DIRECTIONS = 1
"""Of each kind, from points that light has bounced from: each is one of many that a pixel averages."""
LEAST_DENSITY = 1e-6
CHUNK = 1 << 13
"""Rays at once."""


@torch.no_grad()
def outgoing(
    surface: KnownSurface,
    material_fn: MaterialFn,
    around: PlacedLight,
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    view_dirs: Float[Tensor, "n 3"],
    generator: torch.Generator,
    *,
    directions: int,
    bounces: int,
) -> Float[Tensor, "n 3"]:
    """Linear light from surface points towards the eye; `directions` of each kind are followed."""
    normals = facing(normals, view_dirs)
    here = material_fn(points)
    material = Material(here.albedo[:, None], here.metallic[:, None], here.roughness[:, None])
    n, v, count = normals[:, None], view_dirs[:, None], len(points)
    shift = torch.rand(count, 1, 2, generator=generator).to(points)
    reflected = brdf.sample(material, n, v, (even_squares(directions).to(points) + shift) % 1)
    bright = around.sample(torch.rand(count * directions, 3, generator=generator).to(points))
    heading = torch.cat([reflected, bright.view(count, directions, 3)], 1)
    flat = heading.flatten(0, 1)
    density = (brdf.pdf(material, n, v, heading) + around.pdf(flat).view(count, -1, 1)) / 2
    start = lifted(points, normals).repeat_interleave(heading.shape[1], 0)
    met = surface.meet(start, flat)
    light = around.radiance_towards(flat) * ~met.hit[:, None]
    if bounces > 0 and bool(met.hit.any()):
        bounced = outgoing(
            surface,
            material_fn,
            around,
            met.points[met.hit],
            met.normals[met.hit],
            -flat[met.hit],
            generator,
            directions=BOUNCED_DIRECTIONS,
            bounces=bounces - 1,
        )
        light = light.masked_scatter(met.hit[:, None], bounced)
    seen = brdf.evaluate(material, n, v, heading) * light.view_as(heading)
    return (seen / density.clamp_min(LEAST_DENSITY)).mean(1)


@torch.no_grad()
def relit(
    surface: KnownSurface,
    material_fn: MaterialFn,
    around: PlacedLight,
    cameras: Cameras,
    index: int,
    *,
    directions: int,
    bounces: int,
    oversample: int = 2,
    seed: int = 0,
) -> Float[Tensor, "h w 4"]:
    """The surface alone in the view of a camera: linear light times coverage, and coverage.

    Each pixel is the mean of `oversample`² places in it, which share its `directions`.
    """
    device = around.capture_from_world.device
    generator = torch.Generator().manual_seed(seed)
    fine = cameras[index].resized(factor=float(oversample))
    width, height = fine.sizes_px[0].tolist()
    rays = fine.view_rays(0)
    seen = torch.zeros(len(rays), 4)
    for start in range(0, len(rays), CHUNK):
        part = rays[start : start + CHUNK].to(device)
        met = surface.meet(part.origins, part.directions)
        if not bool(met.hit.any()):
            continue
        light = outgoing(
            surface,
            material_fn,
            around,
            met.points[met.hit],
            met.normals[met.hit],
            -part.directions[met.hit],
            generator,
            directions=max(1, directions // oversample**2),
            bounces=bounces,
        )
        seen[start : start + CHUNK][met.hit.cpu()] = F.pad(light, (0, 1), value=1.0).cpu()
    return F.avg_pool2d(seen.view(height, width, 4).movedim(-1, 0), oversample).movedim(0, -1)
