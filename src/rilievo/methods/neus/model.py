"""The surface of NeuS: a signed distance whose colours depend on the direction they are seen from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.rays import Rays
from rilievo.engine import build
from rilievo.engine.distance_model import DistanceModel, DistanceRender
from rilievo.fields.radiance import RadianceField
from rilievo.ops.packed import PackedSamples
from rilievo.renderers.surface import ColorFn, SurfaceRender, render_surface


class NeusModel(DistanceModel):
    """Distance, colour, sharpness and occupancy; with a learned background where the photos show one."""

    texture: RadianceField

    def forward(
        self,
        rays: Rays,
        behind: Float[Tensor, "3"],
        jitter: Float[Tensor, "r"] | None = None,
        *,
        early_stop: float | None = None,
    ) -> DistanceRender:
        """Surface over the learned background, or over the colour `behind`."""
        return self._see(rays, behind, jitter, early_stop, self._surface)

    def _build_texture(self, generator: torch.Generator) -> RadianceField:
        return build.radiance(self.config.color, self.config.features, with_normals=True, generator=generator)

    def _look(self, rays: Rays, index: int, cameras: Cameras) -> DistanceRender:
        return self(rays, torch.ones(3, device=rays.origins.device), early_stop=1e-3)

    def _surface(self, rays: Rays, samples: PackedSamples) -> SurfaceRender:
        return render_surface(rays, samples, self._sdf_fn, self._color_fn(rays), self.sharpness.inv_s, self.cos_anneal)

    def _color_fn(self, rays: Rays) -> ColorFn:
        return lambda feature, ray, normals: self.texture(feature, rays.directions, normals, ray_index=ray)

    def _surface_color(self, points: Tensor, normals: Tensor) -> Tensor:
        """Each as seen from straight above."""
        feature = self.geometry(points, with_gradient=False).feature
        return self.texture(feature, -F.normalize(normals, dim=-1), normals)
