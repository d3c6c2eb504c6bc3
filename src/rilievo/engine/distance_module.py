"""Losses and learning rates of a signed distance that is seen as a volume (NeuS, arXiv:2106.10689)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo import losses
from rilievo.data.scene import Scene
from rilievo.engine.distance_config import DistanceConfig
from rilievo.engine.distance_model import RADIUS, DistanceModel, DistanceRender
from rilievo.engine.ray_module import RayModule
from rilievo.engine.ray_sampler import RayBatch, step_seed


class DistanceModule(RayModule):
    """Trains a `DistanceModel` on the training views of a normalised scene."""

    model: DistanceModel
    config: DistanceConfig

    def __init__(self, model: DistanceModel, scene: Scene, config: DistanceConfig) -> None:
        super().__init__(model, scene, config)

    def learning_rates(self) -> dict[str, float]:
        optim = self.config.optim
        rates = {"geometry": optim.rate, "texture": optim.rate, "sharpness": optim.sharpness_rate}
        return rates | ({"outside": optim.rate} if self.model.outside is not None else {})

    def render_batch(self, batch: RayBatch) -> DistanceRender:
        return self.model(batch.rays, batch.background, batch.jitter)

    def losses(self, batch: RayBatch, out: DistanceRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        surface, behind = out.surface, out.background
        seen = surface.opacity > 0 if behind is None else (surface.opacity > 0) | (behind.opacity > 0)
        values = {"eikonal": losses.eikonal(self._gradients(surface.sdf_grad, step))}
        if self.weight("rgb_mse", step):
            values["rgb_mse"] = losses.mse(out.rgb[seen], batch.rgb[seen])
        if self.weight("rgb_l1", step):
            values["rgb_l1"] = losses.l1(out.rgb[seen], batch.rgb[seen])
        if self.weight("mask", step) and self.sampler.object_masks:
            values["mask"] = losses.mask_loss(surface.opacity, batch.coverage)
        if self.weight("opaque", step):
            values["opaque"] = losses.opaque_loss(surface.opacity)
        if self.weight("sparsity", step):
            values["sparsity"] = losses.sparsity(surface.sdf, self.config.losses.sparsity_scale)
        if self.weight("curvature", step):
            laplacian = self.model.geometry(surface.points, with_gradient=False, with_laplacian=True).laplacian
            values["curvature"] = losses.curvature(laplacian)
        if self.weight("distortion", step):
            values["distortion"] = losses.distortion(
                surface.weights, surface.midpoints, surface.intervals, surface.offsets
            )
        if behind is not None and self.weight("distortion_bg", step):
            values["distortion_bg"] = losses.distortion(
                behind.weights, behind.midpoints, behind.intervals, behind.offsets
            )
        return values

    def _gradients(self, on_rays: Float[Tensor, "samples 3"], step: int) -> Float[Tensor, "_ 3"]:
        """Gradients on the rays, and at random points of the ball, where rays seldom look once space is known empty."""
        count = self.config.eikonal_points
        if count == 0:
            return on_rays
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 2, step))
        points = torch.rand(count, 3, generator=generator)[self.global_rank :: self.trainer.world_size] * 2 - 1
        return torch.cat([on_rays, self.model.geometry(points.to(on_rays) * RADIUS).gradient])
