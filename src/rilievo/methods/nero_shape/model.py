"""From rays to colour, depth and normals: a signed distance in the unit ball, seen by the light it reflects."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.rays import Rays
from rilievo.data.scene import Scene
from rilievo.engine.distance_model import DistanceModel, DistanceRender
from rilievo.ops.packed import PackedSamples
from rilievo.renderers.occlusion import counts_for_occlusion, find_crossings
from rilievo.shading.appearance import Appearance, shade
from rilievo.shading.color import linear_to_srgb
from rilievo.shading.photographer import photographer_frame
from rilievo.shading.split_sum import reflectance_table

from .config import NeroShapeConfig
from .render import GlossyRender, ShadeFn, render_glossy
from .texture import GlossyTexture


class NeroShapeModel(DistanceModel):
    """Distance, sharpness, occupancy and background as in NeuS; material and light instead of a colour network."""

    config: NeroShapeConfig
    texture: GlossyTexture
    reflectance: Tensor

    def __init__(self, config: NeroShapeConfig, scene: Scene) -> None:
        super().__init__(config, scene)
        self.register_buffer("reflectance", reflectance_table().clone(), persistent=False)

    def forward(
        self,
        rays: Rays,
        behind: Float[Tensor, "3"],
        jitter: Float[Tensor, "r"] | None = None,
        *,
        early_stop: float | None = None,
        photographer_from_world: Float[Tensor, "r 3 4"] | None = None,
    ) -> DistanceRender:
        """Surface over the learned background, or over the colour `behind`."""

        def surface(rays: Rays, samples: PackedSamples) -> GlossyRender:
            return render_glossy(
                rays,
                samples,
                self._sdf_fn,
                self._shade_fn(rays, photographer_from_world),
                self.sharpness.inv_s,
                self.cos_anneal,
                min_weight=self.config.shaded_weight,
            )

        return self._see(rays, behind, jitter, early_stop, surface)

    def occlusion_targets(self, out: GlossyRender, rays: Rays, count: int) -> tuple[Tensor, Tensor]:
        """Predicted and marched probability [count, 1] that the mirror direction is blocked, at up to `count` of the
        shaded samples, spread evenly over the batch."""
        seen, shaded = out.appearance, out.shaded
        ray = torch.searchsorted(out.offsets, shaded, right=True) - 1
        points = out.points[shaded]
        chosen = counts_for_occlusion(
            points, out.sdf[shaded], out.sdf_grad[shaded], rays.directions[ray], self.config.occlusion_distance
        ).nonzero()[:, 0]
        chosen = chosen[:: max(1, -(-len(chosen) // count))]
        crossings = find_crossings(
            points[chosen].detach(), seen.reflected[chosen].detach(), self.geometry.sdf, self.sharpness.inv_s.detach()
        )
        return seen.incoming.occlusion[chosen], crossings.probability

    def _build_texture(self, generator: torch.Generator) -> GlossyTexture:
        config = self.config
        return GlossyTexture(
            config.color, config.lights, config.features, photographer=config.photographer, generator=generator
        )

    def _look(self, rays: Rays, index: int, cameras: Cameras) -> DistanceRender:
        frames = None
        if self.config.photographer:
            frame = photographer_frame(cameras.cam_from_world[index : index + 1, :3].float())
            frames = frame.to(rays.origins).expand(len(rays), 3, 4)
        white = torch.ones(3, device=rays.origins.device)
        return self(rays, white, early_stop=1e-3, photographer_from_world=frames)

    def _shade_fn(self, rays: Rays, photographer_from_world: Tensor | None) -> ShadeFn:
        def look(points: Tensor, normals: Tensor, features: Tensor, ray: Tensor) -> Appearance:
            frames = None if photographer_from_world is None else photographer_from_world[ray]
            material = self.texture.material(points, features)
            return shade(
                points, normals, -rays.directions[ray], material, self.texture.lights, self.reflectance, frames
            )

        return look

    def _surface_color(self, points: Tensor, normals: Tensor) -> Tensor:
        """The albedo, as files hold colours: what is left when the light is taken away."""
        feature = self.geometry(points, with_gradient=False).feature
        return linear_to_srgb(self.texture.material(points, feature).albedo)
