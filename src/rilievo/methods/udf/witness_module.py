"""How the second witness learns: from colours and masks, and from what its own planes show in other photographs.

Beside the colours, normals are to be those of the depth picture (2-D Gaussian splatting, Huang et al. 2024,
arXiv:2403.17888, eq. 14), a ray's Gaussians are to lie together, and a small patch of a plane is to look alike in the
photographs round about (PGSR, arXiv:2406.06521, section 4.2; `best_view_ncc`), which is what places planes to a
fraction of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo import losses
from rilievo.data.scene import Scene
from rilievo.engine.gaussian_module import GaussianModule, camera_extent
from rilievo.engine.ray_sampler import step_seed
from rilievo.engine.settings import FitConfig
from rilievo.engine.view_sampler import ViewBatch, ViewSampler
from rilievo.gaussians.settings import DensifyConfig, RatesConfig, RelocationConfig
from rilievo.losses.gaussian_udf import best_view_ncc
from rilievo.renderers.patch_blend import SourceViews, patch_offsets, plane_patches
from rilievo.renderers.planar_splat import PlanarRender, normals_of_depth

from .config import UdfConfig
from .other_views import OtherViews
from .witness import WitnessModel
from .witness_config import GaussianLosses
from .witness_start import first_discs, one_disc

OPAQUE = 0.5
"""Opacity from which on a pixel's plane is compared with other photographs."""


@dataclass(frozen=True)
class WitnessCourse:
    """What `GaussianModule` asks of a config, put together from two."""

    fit: FitConfig
    losses: GaussianLosses
    rates: RatesConfig
    relocation: RelocationConfig
    doublings: tuple[int, ...]
    background_color: Literal["random", "white"] = "random"
    strategy: Literal["densify", "relocate"] = "relocate"
    densify: DensifyConfig = DensifyConfig()


class WitnessModule(GaussianModule):
    """Trains a `WitnessModel` on the training views of a normalised scene."""

    model: WitnessModel

    def __init__(self, config: UdfConfig, scene: Scene, *, resumed: bool = False) -> None:
        """With `resumed` no start is searched for: a checkpoint's Gaussians will take its place."""
        settings = config.gaussians
        sampler = ViewSampler(scene, random_background=True, seed=config.fit.seed)
        others = OtherViews(sampler.pictures, settings.sources)
        start = one_disc(settings) if resumed else first_discs(settings, sampler, others, config.fit.seed)
        model = WitnessModel(settings, start)
        course = WitnessCourse(
            fit=witness_fit(config),
            losses=settings.losses,
            rates=settings.rates,
            relocation=settings.relocation,
            doublings=settings.doublings,
        )
        super().__init__(model, sampler, course, camera_extent(scene.cameras[list(scene.train_views)]))
        self.settings = settings
        self.others = others

    def other_rates(self) -> dict[str, float]:
        return {}

    def render_batch(self, batch: ViewBatch) -> PlanarRender:
        drawn = self.model(batch.camera, batch.background)
        self.watch(drawn.splats)
        return drawn

    def losses(self, batch: ViewBatch, out: PlanarRender, step: int) -> dict[str, Float[Tensor, "..."]]:
        rgb = torch.where(batch.supervised[..., None], out.rgb, batch.rgb)
        cloud = self.model.gaussians.cloud
        values: dict[str, Tensor] = {"rgb_l1": losses.l1(rgb.flatten(0, 1), batch.rgb.flatten(0, 1))}
        if self.weight("dssim", step):
            values["dssim"] = losses.dssim(rgb, batch.rgb)
        if self.weight("mask", step):
            values["mask"] = (out.alpha - batch.coverage).abs()
        if self.weight("opacity", step):
            values["opacity"] = cloud.opacities
        if self.weight("scale", step):
            values["scale"] = cloud.scales[:, :2] / self.extent
        if self.weight("normals", step):
            values["normals"] = normal_error(out)
        if self.weight("views", step):
            values["views"] = self._seen_elsewhere(batch, out, step)
        return values

    def _seen_elsewhere(self, batch: ViewBatch, out: PlanarRender, step: int) -> Float[Tensor, "n"]:
        """How unlike patches look in this photograph and, by the planes drawn there, in the others."""
        sources = self.others.near(batch.view)
        height, width = out.alpha.shape
        half = self.settings.half_patch
        if sources is None or min(width, height) <= 2 * half or width != self.others.width(batch.view):
            return out.alpha.sum()[None] * 0
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 4, step))
        inner = torch.zeros_like(out.alpha, dtype=torch.bool)
        inner[half : height - half, half : width - half] = True
        wanted = (inner & (out.alpha > OPAQUE) & (batch.coverage > OPAQUE) & batch.supervised).nonzero()
        if not len(wanted):
            return out.alpha.sum()[None] * 0
        chosen = torch.randint(len(wanted), (self.settings.patches,), generator=generator)
        y, x = wanted[chosen.to(wanted.device)].unbind(-1)
        return views_error(out, torch.stack([x, y], -1), half, batch.camera.K[0], batch.camera.cam_from_world[0],
                           self.others.grey(batch.view), sources)  # fmt: skip


def normal_error(out: PlanarRender) -> Float[Tensor, "h w"]:
    """Σ w (1 - n·n_depth) of each pixel whose neighbours have a depth, too."""
    of_depth = normals_of_depth(out.depth, out.rays)
    there = (of_depth != 0).any(-1) & (out.alpha > OPAQUE)
    return torch.where(there, out.alpha - (out.normals * of_depth).sum(-1), 0)


def views_error(
    out: PlanarRender,
    pixels: Int64[Tensor, "n 2"],
    half: int,
    K: Float[Tensor, "3 3"],
    cam_from_world: Float[Tensor, "4 4"],
    grey: Float[Tensor, "h w"],
    sources: SourceViews,
) -> Float[Tensor, "n"]:
    """1 - squared correlation of the patches round pixels with the best of the sources' views of their planes."""
    x, y = pixels.unbind(-1)
    alpha = out.alpha[y, x].clamp_min(OPAQUE)
    normals, distance = out.normals[y, x] / alpha[:, None], out.distance[y, x] / alpha
    seen, valid = plane_patches(
        pixels + 0.5, normals, distance, half, K.to(normals), cam_from_world.to(normals), sources
    )
    around = pixels[:, None] + patch_offsets(half)
    reference = grey[around[..., 1], around[..., 0]].to(normals)
    seen = torch.where(valid[:, :, None], seen[..., 0], 0)  # which is like nothing
    return best_view_ncc(reference, seen, best=max(1, len(sources.images) // 2))


def witness_fit(config: UdfConfig) -> FitConfig:
    """Training of the Gaussians, on the device and from the seed of the run."""
    return FitConfig(
        steps=config.gaussians.steps,
        seed=config.fit.seed,
        device=config.fit.device,
        samples=0,
        checkpoint_every=config.gaussians.checkpoint_every,
        preview_every=config.gaussians.steps,
        log_every=config.fit.log_every,
    )
