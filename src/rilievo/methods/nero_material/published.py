"""NeRO's second stage with the networks and the estimator of its publication (arXiv:2305.17398, section 4).

512 directions for the matte ground and 256 for the mirror from every point, light from networks of encoded directions,
four layers of 256 for each material over a trunk of eight. The estimator counts mirrors about twice
(`shading.monte_carlo`), which its light makes up for: its materials are those of the publication, and no other renderer
shows them quite as they are meant.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Adam

from rilievo.engine.optim import follow
from rilievo.engine.ray_sampler import RayBatch
from rilievo.engine.schedules import Cosine, warmup
from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.material import FrequencyFeatures, MaterialField
from rilievo.fields.mlp import MLP
from rilievo.losses.color import charbonnier
from rilievo.shading.brdf import Material
from rilievo.shading.directional_encoding import DirectionalEncoding
from rilievo.shading.monte_carlo import even_squares, shade_traced
from rilievo.shading.traced_light import TracedLight

from .model import MaterialRender, NeroMaterialModel
from .module import NeroMaterialModule, whole_pixels

OCTAVES = 8


class PublishedModel(NeroMaterialModel):
    """Frequencies and wide networks in place of grids and a panorama."""

    light: TracedLight

    def _build_material(self, generator: torch.Generator) -> MaterialField:
        features = FrequencyFeatures(_frequencies(), width=self.config.material.width, generator=generator)
        inputs = features.output_dim + 3
        return MaterialField(features, *(self._wide(inputs, n, generator) for n in (3, 1, 1)))

    def _build_light(self, generator: torch.Generator) -> TracedLight:
        place, bands = _frequencies(), DirectionalEncoding(self.config.degree).output_dim
        return TracedLight(
            self._wide(2 * bands, 3, generator),
            self._wide(bands + place.output_dim, 3, generator),
            None,
            encode_points=place,
            from_sphere=True,
            degree=self.config.degree,
            max_exponent=self.config.max_exponent,
            indirect_max_exponent=self.config.max_exponent,
        )

    def _wide(self, inputs: int, outputs: int, generator: torch.Generator) -> MLP:
        shape = self.config.light
        return MLP(
            inputs, outputs, width=shape.width, hidden_layers=shape.hidden, weight_norm=True, generator=generator
        )

    def _seen(
        self, points: Tensor, normals: Tensor, view: Tensor, material: Material, squares: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One estimate [n, 1, 3] and the light [n, s, 3]; `squares` [n, 1, 1, 2] turn both kinds of directions."""
        shares = self.config.directions * 2 // 3, self.config.directions // 3
        matte, mirror = (even_squares(count).to(points) for count in shares)
        seen = shade_traced(
            normals,
            view,
            material,
            lambda directions: self.light(points, directions, self.surface.meet),
            matte,
            mirror,
            shadowing="schlick",
            turns=(squares[:, 0, 0, :1], squares[:, 0, 0, 1:]),
        )
        return (seen.diffuse + seen.specular)[:, None], seen.light

    def _picture_squares(self, device: torch.device) -> Float[Tensor, "1 sets s 2"]:
        return torch.zeros(1, 1, 1, 2, device=device)


class PublishedModule(NeroMaterialModule):
    """Trains it as published: the whole error of one estimate, Adam, a warm-up and half a cosine."""

    def learning_rates(self) -> dict[str, float]:
        return {"": self.config.optim.rate}

    def configure_optimizers(self) -> Any:
        optim = self.config.optim
        optimizer = Adam(self.model.parameters(), lr=optim.rate)
        course = warmup(
            optim.warmup_steps, Cosine(self.config.fit.steps - optim.warmup_steps, end=optim.final), start=0.0
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": follow(optimizer, course), "interval": "step"}}

    def squares(self, batch: RayBatch) -> Tensor:
        """Each point's directions are turned by themselves, the ground's and the mirror's."""
        return torch.rand(len(batch), 1, 1, 2, generator=self._generator(1)).to(batch.rgb)

    def color_losses(self, batch: RayBatch, out: MaterialRender, step: int) -> dict[str, Tensor]:
        seen = out.hit & whole_pixels(batch)
        return {"rgb": charbonnier(out.rgb[seen], batch.rgb[seen])}


def _frequencies() -> CompositeEncoding:
    return CompositeEncoding(FrequencyEncoding(OCTAVES), scale=1.0, offset=0.0)
