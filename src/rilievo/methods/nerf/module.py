"""Losses and learning rates of NeRF."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from rilievo import losses
from rilievo.data.scene import Scene
from rilievo.engine.ray_module import RayModule
from rilievo.engine.ray_sampler import RayBatch

from .config import NerfConfig
from .model import NerfModel, NerfRender


class NerfModule(RayModule):
    """Trains a `NerfModel` on the training views of a normalised scene."""

    model: NerfModel
    config: NerfConfig

    def __init__(self, config: NerfConfig, scene: Scene) -> None:
        super().__init__(NerfModel(config, scene), scene, config)

    def learning_rates(self) -> dict[str, float]:
        return {"volume": self.config.optim.rate}

    def render_batch(self, batch: RayBatch) -> NerfRender:
        return self.model(batch.rays, batch.background, batch.jitter)

    def losses(self, batch: RayBatch, out: NerfRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        volume = out.volume
        seen = volume.opacity > 0
        values = {"rgb": losses.smooth_l1(out.rgb[seen], batch.rgb[seen], beta=1.0)}
        if self.weight("distortion", step):
            values["distortion"] = losses.distortion(volume.weights, volume.midpoints, volume.intervals, volume.offsets)
        return values
