"""Losses and learning rates of splat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo import losses
from rilievo.data.scene import Scene
from rilievo.engine.exposure import Exposure
from rilievo.engine.gaussian_module import GaussianModule, camera_extent
from rilievo.engine.view_sampler import ViewBatch, ViewSampler

from .config import SplatConfig
from .model import SplatModel
from .start import first_cloud


@dataclass(frozen=True)
class SplatView:
    """A training picture as the model has it; equal to the photo where that says nothing."""

    rgb: Float[Tensor, "h w 3"]


class SplatModule(GaussianModule):
    """Trains a `SplatModel` on the training views of a normalised scene."""

    model: SplatModel
    config: SplatConfig

    def __init__(self, config: SplatConfig, scene: Scene) -> None:
        random_background = config.background_color == "random"
        sampler = ViewSampler(scene, random_background=random_background, seed=config.fit.seed)
        model = SplatModel(config, first_cloud(config, scene, sampler))
        super().__init__(model, sampler, config, camera_extent(scene.cameras[list(scene.train_views)]))
        self.exposure = Exposure(len(scene)) if config.exposure else None

    def other_rates(self) -> dict[str, float]:
        return {} if self.exposure is None else {"exposure": self.config.exposure_rate}

    def render_batch(self, batch: ViewBatch) -> SplatView:
        if self.exposure is None:
            drawn = self.model(batch.camera, batch.background)
            rgb = drawn.features
        else:  # which was the camera's doing, and not done to the background that is laid behind afterwards
            drawn = self.model(batch.camera)
            exposed = self.exposure(drawn.features, drawn.alpha, batch.view)
            rgb = exposed + (1 - drawn.alpha[..., None]) * batch.background
        self.watch(drawn)
        return SplatView(torch.where(batch.supervised[..., None], rgb, batch.rgb))

    def losses(self, batch: ViewBatch, out: SplatView, step: int) -> dict[str, Float[Tensor, "..."]]:
        values: dict[str, Tensor] = {"rgb_l1": losses.l1(out.rgb.flatten(0, 1), batch.rgb.flatten(0, 1))}
        cloud = self.model.gaussians.cloud
        if self.weight("dssim", step):
            values["dssim"] = losses.dssim(out.rgb, batch.rgb)
        if self.weight("opacity", step):
            values["opacity"] = cloud.opacities
        if self.weight("scale", step):
            values["scale"] = cloud.scales / self.extent
        return values
