"""Losses and learning rates of NeRO's first stage."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from rilievo.data.scene import Scene
from rilievo.engine.distance_model import DistanceRender
from rilievo.engine.distance_module import DistanceModule
from rilievo.engine.ray_sampler import RayBatch
from rilievo.losses import glossy
from rilievo.losses.color import charbonnier
from rilievo.shading.photographer import photographer_frame

from .config import NeroShapeConfig
from .model import NeroShapeModel
from .render import GlossyRender


class NeroShapeModule(DistanceModule):
    """Trains a `NeroShapeModel` on the training views of a normalised scene."""

    model: NeroShapeModel
    config: NeroShapeConfig

    def __init__(self, config: NeroShapeConfig, scene: Scene) -> None:
        super().__init__(NeroShapeModel(config, scene), scene, config)
        self.frames: Tensor
        self.register_buffer(
            "frames", photographer_frame(scene.cameras.cam_from_world[:, :3].float()), persistent=False
        )

    def learning_rates(self) -> dict[str, float]:
        rates = super().learning_rates()
        del rates["texture"]
        return rates | {"texture": self.config.lights.rate}

    def render_batch(self, batch: RayBatch) -> DistanceRender:
        frames = self.frames[batch.view] if self.config.photographer else None
        return self.model(batch.rays, batch.background, batch.jitter, photographer_from_world=frames)

    def losses(self, batch: RayBatch, out: DistanceRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        values, surface = super().losses(batch, out, step), out.surface
        assert isinstance(surface, GlossyRender)
        if self.weight("rgb_charbonnier", step):
            values["rgb_charbonnier"] = charbonnier(out.rgb, batch.rgb)
        if self.weight("colorless_light", step):
            values["colorless_light"] = glossy.colorless_light(surface.appearance.diffuse_light)
        if self.weight("occlusion", step) and step >= self.config.occlusion_start:
            predicted, marched = self.model.occlusion_targets(surface, batch.rays, self.config.occlusion_points)
            values["occlusion"] = glossy.occlusion(predicted, marched)
        return values
