"""Losses and learning rates of the unsigned distance field."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo import losses
from rilievo.data.scene import Scene
from rilievo.engine.ray_module import RayModule
from rilievo.engine.ray_sampler import RayBatch, step_seed

from .config import UdfConfig
from .model import RADIUS, UdfModel, UdfRender


class UdfModule(RayModule):
    """Trains a `UdfModel` on the training views of a normalised scene."""

    model: UdfModel
    config: UdfConfig

    def __init__(self, config: UdfConfig, scene: Scene) -> None:
        super().__init__(UdfModel(config, scene), scene, config)

    def learning_rates(self) -> dict[str, float]:
        optim = self.config.optim
        rates = {"geometry": optim.rate, "texture": optim.rate, "sharpness": optim.sharpness_rate}
        return rates | ({"outside": optim.rate} if self.model.outside is not None else {})

    def render_batch(self, batch: RayBatch) -> UdfRender:
        return self.model(batch.rays, batch.background, batch.jitter)

    def losses(self, batch: RayBatch, out: UdfRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        surface, behind = out.surface, out.background
        seen = surface.opacity > 0 if behind is None else (surface.opacity > 0) | (behind.opacity > 0)
        gradients, raw = self._anywhere(surface.sdf_grad, step)
        values = {"eikonal": losses.eikonal(gradients)}
        if self.weight("rgb_mse", step):
            values["rgb_mse"] = losses.mse(out.rgb[seen], batch.rgb[seen])
        if self.weight("rgb_l1", step):
            values["rgb_l1"] = losses.l1(out.rgb[seen], batch.rgb[seen])
        if self.weight("mask", step) and self.sampler.object_masks:
            values["mask"] = losses.mask_loss(surface.opacity, batch.coverage)
        if self.weight("sparsity", step):
            values["sparsity"] = losses.sparsity(surface.sdf, self.config.losses.sparsity_scale)
        if self.weight("one_sided", step):
            values["one_sided"] = (-raw).clamp_min(0)
        return values

    def _anywhere(self, on_rays: Float[Tensor, "samples 3"], step: int) -> tuple[Float[Tensor, "_ 3"], Tensor]:
        """Gradients on the rays, and at random points of the ball, where rays seldom look once space is known empty."""
        count = self.config.eikonal_points
        if count == 0:
            return on_rays, on_rays[:0, 0]
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 2, step))
        points = torch.rand(count, 3, generator=generator)[self.global_rank :: self.trainer.world_size] * 2 - 1
        sample = self.model.geometry(points.to(on_rays) * RADIUS)
        return torch.cat([on_rays, sample.gradient]), sample.raw
