"""The first Gaussians: at the points that came with the capture, or where photographs agree (`photo_points`)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rilievo.data.scene import Scene
from rilievo.engine.photo_points import agreed_points
from rilievo.engine.ray_sampler import step_seed
from rilievo.engine.view_sampler import ViewSampler
from rilievo.errors import clear
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.spacing import neighbour_distance

from .config import SplatConfig

FEW_POINTS = 100
"""Fewer scene points than this are no start."""
LARGEST = 0.1
"""No Gaussian starts larger than this share of its distance to the region's centre, or of the region's radius."""


def first_cloud(config: SplatConfig, scene: Scene, sampler: ViewSampler) -> GaussianCloud:
    """The cloud that training starts from, in the normalised scene's world.

    Raises `UserError` where the scene's points are asked for and there are too few.
    """
    start = config.start
    usable = 0 if scene.points is None else int(np.isfinite(scene.points.xyz).all(1).sum())
    if start.points == "scene" and usable < FEW_POINTS:
        raise clear(
            "--start.points scene",
            expected=f"a capture with at least {FEW_POINTS} points",
            got=str(usable),
            do="use --start.points photos",
        )
    generator = torch.Generator().manual_seed(step_seed(config.fit.seed + 2, 0))
    if start.points == "photos" or usable < FEW_POINTS:
        agreed = agreed_points(sampler, start.count, depths=start.depths, far=start.far, generator=generator)
        points, rgb = agreed.xyz, agreed.rgb
    else:
        points, rgb = _scene_points(scene, start.count, generator)
    limit = LARGEST * torch.linalg.vector_norm(points, dim=-1).clamp_min(1.0)
    scales = torch.minimum(neighbour_distance(points), limit)
    return GaussianCloud.from_points(points, rgb, scales, config.sh_degree, start.opacity)


def _scene_points(scene: Scene, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The capture's own points, grey where they have no colour, thinned to `count`."""
    assert scene.points is not None
    xyz = torch.from_numpy(scene.points.xyz)
    rgb = scene.points.rgb
    colors = torch.full(xyz.shape, 0.5) if rgb is None else torch.tensor(rgb).float() / 255
    usable = xyz.isfinite().all(1).nonzero().squeeze(1)
    chosen = usable[torch.randperm(len(usable), generator=generator)[:count].sort().values]
    return xyz[chosen].float(), colors[chosen]
