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
from rilievo.engine.optim import adamw
from rilievo.engine.ray_module import RayModule
from rilievo.engine.ray_sampler import RayBatch, step_seed

from .config import UdfConfig
from .model import RADIUS, UdfModel, UdfRender
from .rates import color_course, shape_course

ONE_SIDED_POINTS = 2048
"""About as many samples of a batch are asked for the network's number."""


class UdfModule(RayModule):
    """Trains a `UdfModel` on the training views of a normalised scene."""

    model: UdfModel
    config: UdfConfig

    def __init__(self, config: UdfConfig, scene: Scene) -> None:
        super().__init__(UdfModel(config, scene), scene, config)

    def learning_rates(self) -> dict[str, float]:
        optim = self.config.optim
        shape = optim.rate if self.config.rates == "exponential" else self.config.course.shape_rate
        rates = {"geometry": shape, "texture": optim.rate, "sharpness": optim.sharpness_rate}
        return rates | ({"outside": optim.rate} if self.model.outside is not None else {})

    def configure_optimizers(self) -> Any:
        """As `optim` says, or the published course with its own for the distance field."""
        if self.config.rates == "exponential":
            return super().configure_optimizers()
        rates = self.learning_rates()
        optimizer = adamw(self.model, rates, weight_decay=self.config.optim.weight_decay)
        course, steps = self.config.course, self.config.fit.steps
        curves: list[Callable[[int], float]] = [
            shape_course(course, steps) if name == "geometry" else color_course(course, steps, rate)
            for name, rate in rates.items()
        ]
        scheduler = LambdaLR(optimizer, curves)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def render_batch(self, batch: RayBatch) -> UdfRender:
        return self.model(batch.rays, batch.background, batch.jitter)

    def losses(self, batch: RayBatch, out: UdfRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        surface, behind = out.surface, out.background
        seen = surface.opacity > 0 if behind is None else (surface.opacity > 0) | (behind.opacity > 0)
        values = {"eikonal": losses.eikonal(self._gradients(surface.sdf_grad, step))}
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
        return values

    def _gradients(self, on_rays: Float[Tensor, "samples 3"], step: int) -> Float[Tensor, "_ 3"]:
        """Gradients on the rays, and at random points of the ball, where rays seldom look once space is known empty."""
        count = self.config.eikonal_points
        if count == 0:
            return on_rays
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 2, step))
        points = torch.rand(count, 3, generator=generator)[self.global_rank :: self.trainer.world_size] * 2 - 1
        return torch.cat([on_rays, self.model.geometry(points.to(on_rays) * RADIUS).gradient])
