"""Losses and learning rates of the unsigned distance field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from rilievo import losses
from rilievo.data.scene import Scene
from rilievo.engine.optim import adamw, follow
from rilievo.engine.patch_sampler import PatchBatch, PatchSampler
from rilievo.engine.ray_module import RayModule
from rilievo.engine.ray_sampler import RayBatch, step_seed
from rilievo.engine.view_sampler import ViewSampler
from rilievo.errors import clear
from rilievo.losses.patch import PatchDifference, patch_difference, trimmed_mean
from rilievo.renderers.udf_patches import PatchTarget
from rilievo.renderers.udf_surface import UnsignedRender

from .config import UdfConfig
from .coupling import Coupling
from .model import RADIUS, UdfModel, UdfRender
from .other_views import OtherViews
from .rates import color_course, shape_course

NEAR_SURFACE = 0.05
"""Distance, in region radii, of samples close to the surface."""
ONE_SIDED_POINTS = 2048
"""About as many samples of a batch are asked for the network's number."""


class UdfModule(RayModule):
    """Trains a `UdfModel` on the training views of a normalised scene."""

    model: UdfModel
    config: UdfConfig

    def __init__(self, config: UdfConfig, scene: Scene, coupling: Coupling | None = None) -> None:
        super().__init__(UdfModel(config, scene), scene, config)
        self.coupling = coupling
        self.others: OtherViews | None = None
        if looks_elsewhere(config):
            check_pinholes(scene)
            sampler = ViewSampler(scene, random_background=False, seed=config.fit.seed)
            self.others = OtherViews(sampler.pictures, config.sources)
        if coupling is not None or self.others is not None:  # whose pixels are those of one view at a step
            self.sampler = PatchSampler(  # type: ignore[assignment]  # draws as much as is asked of it here
                scene,
                half=config.half_patch if self.others is not None else 0,
                random_background=config.background_color == "random",
                seed=config.fit.seed,
            )

    def learning_rates(self) -> dict[str, float]:
        optim = self.config.optim
        shape = optim.rate if self.config.rates == "exponential" else self.config.course.shape_rate
        rates = {"geometry": shape, "texture": optim.rate, "sharpness": optim.sharpness_rate}
        return rates | ({"outside": optim.rate} if self.model.outside is not None else {})

    def configure_optimizers(self) -> Any:
        """As `optim` says, or the published course with its own for the distance field; Gaussians follow the others."""
        rates = self.learning_rates()
        optimizer = adamw(self.model, rates, weight_decay=self.config.optim.weight_decay)
        for group in self.coupling.parameter_groups() if self.coupling is not None else ():
            optimizer.add_param_group(group)
        if self.config.rates == "exponential":
            scheduler = follow(optimizer, self.config.optim.schedule(self.config.fit.steps))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        course, steps = self.config.course, self.config.fit.steps
        curves: list[Callable[[int], float]] = [
            shape_course(course, steps) if name == "geometry" else color_course(course, steps, rate)
            for name, rate in rates.items()
        ]
        others = color_course(course, steps, self.config.optim.rate)
        curves += [others] * (len(optimizer.param_groups) - len(curves))
        scheduler = LambdaLR(optimizer, curves)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def render_batch(self, batch: RayBatch) -> UdfRender:
        return self.model(batch.rays, batch.background, batch.jitter)

    def losses(self, batch: RayBatch, out: UdfRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        surface, behind = out.surface, out.background
        seen = surface.opacity > 0 if behind is None else (surface.opacity > 0) | (behind.opacity > 0)
        values = {"eikonal": losses.eikonal(self._gradients(surface.sdf_grad, step))}
        if self.weight("eikonal_near", step):
            values["eikonal_near"] = losses.eikonal(surface.sdf_grad[surface.sdf < NEAR_SURFACE])
        if self.weight("rgb_mse", step):
            values["rgb_mse"] = losses.mse(out.rgb[seen], batch.rgb[seen])
        if self.weight("rgb_l1", step):
            values["rgb_l1"] = losses.l1(out.rgb[seen], batch.rgb[seen])
        if self.weight("rgb_base", step) and out.base is not None:
            values["rgb_base"] = losses.l1(out.base[seen], batch.rgb[seen])
        if self.weight("mask", step) and self.sampler.object_masks:
            values["mask"] = losses.mask_loss(surface.opacity, batch.coverage)
        if self.weight("sparsity", step):
            values["sparsity"] = losses.sparsity(surface.sdf, self.config.losses.sparsity_scale)
        if self.weight("one_sided", step):
            some = surface.points[:: max(1, len(surface.points) // ONE_SIDED_POINTS)]
            values["one_sided"] = (-self.model.geometry.raw(some)).clamp_min(0)
        if isinstance(batch, PatchBatch):
            values |= self._seen_elsewhere(batch, surface, step)
        if self.coupling is not None:
            part, parts = self.global_rank, self.trainer.world_size
            values |= self.coupling.taught(self.model.geometry, step, part=part, parts=parts)
            assert isinstance(batch, PatchBatch)
            values |= self.coupling.compared(batch, surface, step)
        return values

    def _seen_elsewhere(self, batch: PatchBatch, surface: UnsignedRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        """Losses of pixels and patches as other photographs have them."""
        view = int(batch.view[0])
        if self.others is None or step < self.config.course.second_step:
            return {}
        sources = self.others.near(view, batch.background.cpu())
        if sources is None:
            return {}
        camera = self.others.pictures[view].camera
        target = PatchTarget(
            batch.pixels + 0.5,
            self.config.half_patch,
            camera.K[0].to(surface.points),
            camera.cam_from_world[0].to(surface.points),
            sources.to(surface.points.device),
        )
        seen = self.model.from_sources(surface, batch.rays, target)
        pixel = losses.l1(seen.pixel[seen.pixel_seen], batch.rgb[seen.pixel_seen])
        difference = patch_difference(seen.patches, batch.patches, PatchDifference.SSIM)
        return {"rgb_pixel": pixel, "patch": trimmed_mean(difference, seen.patch_seen & batch.patch_valid)[None]}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if self.coupling is None:
            return loss
        own, values = self.coupling.photographed(self.model.geometry, self.global_step)
        return loss + own + sum(self.weight(name, self.global_step) * value.mean() for name, value in values.items())

    def _gradients(self, on_rays: Float[Tensor, "samples 3"], step: int) -> Float[Tensor, "_ 3"]:
        """Gradients on the rays, and at random points of the ball, where rays seldom look once space is known empty."""
        count = self.config.eikonal_points
        if count == 0:
            return on_rays
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 2, step))
        points = torch.rand(count, 3, generator=generator)[self.global_rank :: self.trainer.world_size] * 2 - 1
        return torch.cat([on_rays, self.model.geometry(points.to(on_rays) * RADIUS).gradient])


def check_pinholes(scene: Scene) -> None:
    """Raises `UserError` where a training photo bends lines: its patches are no patches of a straightened photo."""
    views = list(scene.train_views)
    cameras = scene.cameras[views]
    bent = (cameras.distortion != 0).any(-1) | cameras.fisheye | (cameras.K[:, 0, 1] != 0)
    if bool(bent.any()):
        raise clear(
            "photos whose patches are compared",
            expected="pinhole cameras, without distortion or skew",
            got=f"{int(bent.sum())} of {len(views)} training views with one",
            do="undistort them first, or use --preset fast, which compares no patches of the field",
        )


def looks_elsewhere(config: UdfConfig) -> bool:
    """Whether colours of other photographs are blended before the run ends."""
    last = config.fit.steps
    return config.shape == "published" and bool(config.losses.rgb_pixel(last) or config.losses.patch(last))
