"""From rays to colour, depth and normals: the surface of NeuS in the unit ball, seen by the light it reflects."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.rays import Rays
from rilievo.data.scene import Scene
from rilievo.engine.method import Rendering
from rilievo.engine.render import render_rays
from rilievo.geometry.box import ray_ball
from rilievo.methods.neus.model import RADIUS, NeusModel, NeusRender
from rilievo.renderers.occlusion import counts_for_occlusion, find_crossings
from rilievo.renderers.surface import alpha_of_distances
from rilievo.renderers.volume import march_visible
from rilievo.shading.appearance import Appearance, shade
from rilievo.shading.color import linear_to_srgb
from rilievo.shading.photographer import photographer_frame
from rilievo.shading.split_sum import reflectance_table

from .config import NeroShapeConfig
from .render import GlossyRender, ShadeFn, render_glossy
from .texture import GlossyTexture


class NeroShapeModel(NeusModel):
    """Distance, sharpness, occupancy and background as in NeuS; material and light instead of a colour network."""

    config: NeroShapeConfig
    texture: GlossyTexture  # type: ignore[assignment]  # another network in the same place
    reflectance: Tensor

    def __init__(self, config: NeroShapeConfig, scene: Scene) -> None:
        super().__init__(config, scene)
        generator = torch.Generator().manual_seed(config.fit.seed + 1)
        self.texture = GlossyTexture(
            config.color, config.lights, config.features, photographer=config.photographer, generator=generator
        )
        self.register_buffer("reflectance", reflectance_table().clone(), persistent=False)

    def forward(
        self,
        rays: Rays,
        behind: Float[Tensor, "3"],
        jitter: Float[Tensor, "r"] | None = None,
        *,
        early_stop: float | None = None,
        photographer_from_world: Float[Tensor, "r 3 4"] | None = None,
    ) -> NeusRender:
        """Surface over the learned background, or over the colour `behind`."""
        near, far = ray_ball(rays.origins, rays.directions, torch.zeros_like(rays.origins[0]), RADIUS)
        hit = far > 0
        near, far = torch.where(hit, near.clamp_min(0), 0), torch.where(hit, far, 0)
        inv_s = self.sharpness.inv_s
        if early_stop is None:
            samples = self._march(rays, near, far, jitter)
        else:
            glance = alpha_of_distances(self.geometry.sdf, inv_s)
            samples, _ = march_visible(rays, near, far, self._march, glance, early_stop=early_stop, jitter=jitter)
        surface = render_glossy(
            rays,
            samples,
            self._sdf_fn,
            self._shade_fn(rays, photographer_from_world),
            inv_s,
            self.cos_anneal,
            min_weight=self.config.shaded_weight,
        )
        return self._over_background(
            rays, surface, torch.where(hit, far, self.config.outside.near), behind, len(samples), jitter
        )

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

    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera; what no surface and no background covers is white."""
        device = next(self.parameters()).device
        frame = None
        if self.config.photographer:
            frame = photographer_frame(cameras.cam_from_world[index : index + 1, :3].float()).to(device)

        def look(rays: Rays) -> dict[str, Tensor]:
            out = self(
                rays,
                torch.ones(3, device=device),
                early_stop=1e-3,
                photographer_from_world=None if frame is None else frame.expand(len(rays), 3, 4),
            )
            surface = out.surface
            picture = {
                "rgb": out.rgb,
                "opacity": surface.opacity,
                "distance": surface.distance,
                "normals": surface.normals,
            }
            return picture | ({"background": out.behind} if self.outside is not None else {})

        return render_rays(look, cameras, index, device)

    def _shade_fn(self, rays: Rays, photographer_from_world: Tensor | None) -> ShadeFn:
        def look(points: Tensor, normals: Tensor, features: Tensor, ray: Tensor) -> Appearance:
            frames = None if photographer_from_world is None else photographer_from_world[ray]
            material = self.texture.material(points, features)
            return shade(
                points, normals, -rays.directions[ray], material, self.texture.lights, self.reflectance, frames
            )

        return look

    def _over_background(
        self, rays: Rays, surface: GlossyRender, start: Tensor, behind: Tensor, n_samples: int, jitter: Tensor | None
    ) -> NeusRender:
        background, shown = None, behind.expand_as(surface.rgb)
        if self.outside is not None:
            end = torch.full_like(start, self.config.outside.far)
            through = self.outside.march(rays, start, end, jitter)
            background = self.outside(rays, through)
            shown = background.rgb + behind * (1 - background.opacity[:, None])
            n_samples += len(through)
        rgb = surface.rgb + shown * (1 - surface.opacity[:, None])
        return NeusRender(rgb, surface, background, shown, n_samples)

    def _surface_color(self, points: Tensor, normals: Tensor) -> Tensor:
        """The albedo, as files hold colours: what is left when the light is taken away."""
        feature = self.geometry(points, with_gradient=False).feature
        return linear_to_srgb(self.texture.material(points, feature).albedo)
