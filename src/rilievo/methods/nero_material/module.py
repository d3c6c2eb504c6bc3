"""Losses and learning rates of NeRO's second stage."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.data.scene import Scene
from rilievo.engine.ray_module import RayModule
from rilievo.engine.ray_sampler import RayBatch, step_seed
from rilievo.errors import clear
from rilievo.losses import glossy
from rilievo.losses.color import charbonnier
from rilievo.shading.color import linear_to_srgb, srgb_to_linear
from rilievo.shading.monte_carlo import even_squares, tangent_step
from rilievo.shading.panorama_light import PanoramaLight

from .config import NeroMaterialConfig
from .model import MaterialRender, NeroMaterialModel

WHOLE = 0.999
"""Pixels that show less of the object than this are left out: their colour is also the background's."""
SETS = 2
"""Sets of directions that estimate a colour independently of each other, so that their noise can be told from error."""


def whole_pixels(batch: RayBatch) -> Bool[Tensor, "r"]:
    return batch.coverage > WHOLE


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
        return self.model(batch.rays, batch.background, self.squares(batch))

    def squares(self, batch: RayBatch) -> Float[Tensor, "r sets s 2"]:
        """Even in each set, and moved by a random step for each set and ray."""
        shift = torch.rand(len(batch), SETS, 1, 2, generator=self._generator(1)).to(batch.rgb)
        return (even_squares(self.config.directions // SETS).to(shift) + shift) % 1

    def color_losses(self, batch: RayBatch, out: MaterialRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        """What the photographs say."""
        seen, photo = whole_pixels(batch)[out.hit], batch.rgb[out.hit]
        pairs = out.estimates[seen]
        values = {"rgb": glossy.paired_error(pairs[:, 0], pairs[:, 1], srgb_to_linear(photo[seen]), linear_to_srgb)}
        if self.weight("sent", step):
            light = self.model.light
            assert isinstance(light, PanoramaLight)
            sent = light.sent(out.points[seen], out.view_dirs[seen], out.normals[seen])
            values["sent"] = charbonnier(linear_to_srgb(sent), photo[seen])
        return values

    def losses(self, batch: RayBatch, out: MaterialRender, step: int) -> dict[str, Float[Tensor, "_"]]:
        values, material = self.color_losses(batch, out, step), out.material
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
        if self.weight("undecided", step):
            values["undecided"] = glossy.undecided(material.metallic)
        if self.weight("saturated", step):
            values["saturated"] = glossy.saturated_material(material.metallic, material.alpha_ggx)[None]
        return values

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(step_seed(self.config.fit.seed + stream, self.global_step))
