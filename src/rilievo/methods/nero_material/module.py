"""Losses and learning rates of NeRO's second stage."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.data.scene import Scene
from rilievo.engine.ray_module import RayModule
from rilievo.engine.ray_sampler import RayBatch, step_seed
from rilievo.errors import clear
from rilievo.losses import glossy
from rilievo.losses.color import charbonnier
from rilievo.shading.monte_carlo import tangent_step

from .config import NeroMaterialConfig
from .model import MaterialRender, NeroMaterialModel

WHOLE = 0.999
"""Pixels that show less of the object than this are left out: their colour is also the background's."""


class NeroMaterialModule(RayModule):
    """Trains a `NeroMaterialModel` on the training pixels that show its surface."""

    model: NeroMaterialModel
    config: NeroMaterialConfig

    def __init__(self, model: NeroMaterialModel, scene: Scene, config: NeroMaterialConfig) -> None:
        if config.fit.processes != 1:
            raise clear(
                "--fit.processes",
                expected="1 for a method that traces rays on the processor",
                got=str(config.fit.processes),
                do="leave it out",
            )
        super().__init__(model, scene, config)

    def learning_rates(self) -> dict[str, float]:
        return {"material": self.config.optim.rate, "light": self.config.light_rate}

    def render_batch(self, batch: RayBatch) -> MaterialRender:
        shift = torch.rand(len(batch), 2, generator=self._generator(1)).to(batch.rgb)
        return self.model(batch.rays, batch.background, self.config.directions, shift)

    def losses(self, batch: RayBatch, out: MaterialRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        seen = out.hit & (batch.coverage > WHOLE)
        values = {"rgb_charbonnier": charbonnier(out.rgb[seen], batch.rgb[seen])}
        material = out.material
        if self.weight("change", step):
            turn, length = torch.rand(2, len(out.points), 1, generator=self._generator(2)).to(out.points)
            moved = out.points + tangent_step(out.normals, turn, self.config.change_step * length)
            there = self.model.material(moved)
            values["change"] = glossy.material_change(
                (material.albedo, there.albedo),
                (material.metallic, there.metallic),
                (material.alpha_ggx, there.alpha_ggx),
            )
        if self.weight("colorless_light", step):
            values["colorless_light"] = glossy.colorless_light(out.light.mean(1))
        if self.weight("saturated", step):
            values["saturated"] = glossy.saturated_material(material.metallic, material.alpha_ggx)[None]
        return values

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(step_seed(self.config.fit.seed + stream, self.global_step))
