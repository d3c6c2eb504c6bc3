"""Rays, samples along them, and a rigid motion, for tests of renderers."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from rilievo.cameras.rays import Rays
from rilievo.ops.packed import PackedSamples, offsets_from_ray_index
from rilievo.ops.ray_march import march_rays

DISTANCE = 3.0
"""From the eye to the origin, around which scenes are."""


def rays_towards(targets: Tensor) -> Rays:
    """From an eye at z = -DISTANCE through points."""
    eye = targets.new_tensor([0.0, 0.0, -DISTANCE]).expand_as(targets)
    return Rays(eye, normalize(targets - eye, dim=-1))


def random_rays(rays: int, spread: float, seed: int = 0) -> Rays:
    """Towards points of the plane z = 0 within ±spread."""
    targets = torch.rand(rays, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    return rays_towards(spread * targets * targets.new_tensor([1, 1, 0]))


def even_samples(rays: int, t_min: float, t_max: float, count: int) -> PackedSamples:
    """The same equal intervals on every ray."""
    edges = torch.linspace(t_min, t_max, count + 1, dtype=torch.float64)
    offsets = torch.arange(rays + 1) * count
    return PackedSamples(offsets, edges[:-1].repeat(rays), edges[1:].repeat(rays))


def march(rays: Rays, t_min: Tensor, t_max: Tensor, jitter: Tensor | None, limit: int | None) -> PackedSamples:
    """Through a box that is occupied everywhere."""
    occupied = torch.ones(4, 4, 4, dtype=torch.bool)
    return march_rays(
        rays.origins,
        rays.directions,
        t_min,
        t_max,
        occupied,
        radius=1.5,
        contraction="box",
        step=0.01,
        jitter=jitter,
        max_samples_per_ray=limit,
    )


def chosen(samples: PackedSamples, which: Tensor) -> PackedSamples:
    """Some of the samples, in the same order."""
    offsets = offsets_from_ray_index(samples.ray_index[which], len(samples.offsets) - 1)
    return PackedSamples(offsets, samples.t_starts[which], samples.t_ends[which])


def no_samples(rays: int) -> PackedSamples:
    nothing = torch.zeros(0, dtype=torch.float64)
    return PackedSamples(torch.zeros(rays + 1, dtype=torch.int64), nothing, nothing)


def rotation() -> Tensor:
    """Some rotation, in float64."""
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * q.det()


SHIFT = torch.tensor([0.7, -1.3, 2.1], dtype=torch.float64)


def moved(rays: Rays) -> Rays:
    """The rays after the motion x → R x + SHIFT."""
    turn = rotation()
    return Rays(rays.origins @ turn.T + SHIFT, rays.directions @ turn.T)


def moved_back(points: Tensor) -> Tensor:
    """Where points of the moved scene were before."""
    return (points - SHIFT) @ rotation()
