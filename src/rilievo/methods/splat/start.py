"""The first Gaussians: at the points that came with the capture, or where photographs agree.

Where a scene has no points, a random pixel of a random photo is followed into the scene, and of all depths tried
(even in inverse distance) the one is taken at which the nearest other cameras see the same small patch: a plane sweep,
one pixel at a time (Collins 1996). It is often wrong, and far better than chance.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rilievo.cameras.rays import Rays
from rilievo.data.scene import Scene
from rilievo.engine.ray_sampler import step_seed
from rilievo.engine.view_sampler import Picture, ViewSampler, shrunk
from rilievo.errors import clear
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.spacing import neighbour_distance
from rilievo.geometry.box import ray_ball

from .config import SplatConfig, StartConfig

FEW_POINTS = 100
"""Fewer scene points than this are no start."""
NEIGHBOURS = 4
"""Cameras asked whether they see the same."""
SWEEP_SIDE = 160
"""Longest side of the pictures compared, in px: coarse, so that a patch spans something."""
PATCH = ((0.0, 0.0), (-1.5, -1.5), (1.5, -1.5), (-1.5, 1.5), (1.5, 1.5))
"""Pixels of a patch, from its middle."""
NEAREST = 0.2
"""Nearest depth tried, in distances from the camera to the region's centre."""
LARGEST = 0.1
"""No Gaussian starts larger than this share of its distance to the region's centre, or of the region's radius."""
UNSEEN = 10.0
"""Cost of a depth that no other camera can judge."""


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
        points, rgb = agreed_points(sampler, start, generator)
    else:
        points, rgb = _scene_points(scene, start.count, generator)
    limit = LARGEST * torch.linalg.vector_norm(points, dim=-1).clamp_min(1.0)
    scales = torch.minimum(neighbour_distance(points), limit)
    return GaussianCloud.from_points(points, rgb, scales, config.sh_degree, start.opacity)


def agreed_points(
    sampler: ViewSampler, start: StartConfig, generator: torch.Generator
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """`start.count` points on rays of training pixels, each at the depth where photos agree most, and their colours."""
    swept = [_Swept(picture) for picture in sampler.pictures]
    share = torch.bincount(torch.arange(start.count) % len(swept), minlength=len(swept)).tolist()
    found = []
    for view, count in zip(swept, share):
        pixels, rgb = view.draw(count, generator)
        rays = view.picture.camera.rays(torch.zeros(count, dtype=torch.int64), pixels * view.scale)
        t = _distances(rays, start, sampler.object_masks, torch.rand(count, 1, generator=generator))
        cost = _disagreement(view, pixels, rays.at(t), _nearest(view, swept))
        best = torch.take_along_dim(t, cost.argmin(1, keepdim=True), dim=1)
        found.append((rays.at(best).squeeze(1), rgb))
    return torch.cat([points for points, _ in found]), torch.cat([rgb for _, rgb in found])


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


def _distances(rays: Rays, start: StartConfig, inside: bool, jitter: Float[Tensor, "r 1"]) -> Float[Tensor, "r depths"]:
    """Distances to try along rays, even in inverse distance; within the unit ball where it holds all there is."""
    center = torch.zeros(3)
    to_center = torch.linalg.vector_norm(rays.origins, dim=-1)
    near, far = (NEAREST * to_center).clamp_min(0.05), start.far + to_center
    if inside:
        entry, leave = ray_ball(rays.origins, rays.directions, center, 1.0)
        hit = leave > 0
        near, far = torch.where(hit, entry.clamp_min(0.05), near), torch.where(hit, leave, far)
    steps = (torch.arange(start.depths) + jitter) / start.depths
    return 1 / (steps / far[:, None] + (1 - steps) / near[:, None])


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


def _scene_points(scene: Scene, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The capture's own points, grey where they have no colour, thinned to `count`."""
    assert scene.points is not None
    xyz = torch.from_numpy(scene.points.xyz)
    rgb = scene.points.rgb
    colors = torch.full(xyz.shape, 0.5) if rgb is None else torch.tensor(rgb).float() / 255
    usable = xyz.isfinite().all(1).nonzero().squeeze(1)
    chosen = usable[torch.randperm(len(usable), generator=generator)[:count].sort().values]
    return xyz[chosen].float(), colors[chosen]
