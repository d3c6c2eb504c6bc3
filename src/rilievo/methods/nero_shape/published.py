"""NeRO's first stage with the networks, samples, losses and rates of its publication (arXiv:2305.17398, section 4).

Eight layers of 256 for the distance, four of 256 for each material and light, a NeRF beyond the unit sphere; 64 even
samples on each ray, 64 more in four rounds where the surface is, and 32 outside. Days on a CPU, hours on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Adam

from rilievo import losses
from rilievo.cameras.camera import Cameras
from rilievo.cameras.rays import Rays
from rilievo.data.scene import Scene
from rilievo.engine.method import Rendering
from rilievo.engine.optim import follow
from rilievo.engine.ray_model import RayModel
from rilievo.engine.ray_module import RayModule
from rilievo.engine.ray_sampler import RayBatch
from rilievo.engine.render import render_rays
from rilievo.engine.schedules import Cosine, warmup
from rilievo.fields.encoding import CompositeEncoding, pullback
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.inverted_sphere import InvertedSphereNerf
from rilievo.fields.skip_mlp import SkipMLP
from rilievo.fields.variance import InverseDeviation
from rilievo.geometry.mesh import TriMesh
from rilievo.losses import glossy
from rilievo.losses.color import charbonnier
from rilievo.meshing.surface import extract_surface
from rilievo.renderers.alpha import anneal_ratio
from rilievo.renderers.occlusion import counts_for_occlusion, find_crossings
from rilievo.shading.appearance import Appearance, shade
from rilievo.shading.color import linear_to_srgb
from rilievo.shading.photographer import photographer_frame
from rilievo.shading.ray_sphere import near_far
from rilievo.shading.split_sum import reflectance_table

from .config import NeroShapeConfig
from .dense import DenseRender, render_dense, sample_ray
from .maps import SurfaceMaps, surface_maps
from .render import ShadeFn
from .texture import GlossyTexture

OCTAVES, FEATURES = 6, 256
START_STEPS = 1000
START_RADIUS = 1.2
"""Samples within it count for the start terms."""


class PublishedModel(RayModel):
    """Distance, sharpness, material and light, and the world beyond."""

    def __init__(self, config: NeroShapeConfig) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.fit.seed)
        self.encoding = CompositeEncoding(FrequencyEncoding(OCTAVES), scale=1.0, offset=0.0)
        self.geometry = SkipMLP(
            self.encoding.output_dim, FEATURES + 1, sphere_radius=config.sphere_radius, generator=generator
        )
        self.sharpness = InverseDeviation(config.sharpness)
        self.texture = GlossyTexture(
            config.color, config.lights, FEATURES, photographer=config.photographer, generator=generator
        )
        self.outside = InvertedSphereNerf(generator=generator)
        self.reflectance: Tensor
        self.register_buffer("reflectance", reflectance_table().clone(), persistent=False)
        self.cos_anneal = 0.0

    def set_step(self, step: int) -> None:
        self.sharpness.set_step(step)
        self.cos_anneal = anneal_ratio(step, self.config.cos_anneal_steps)

    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        """All of space is sampled, always."""

    def forward(self, rays: Rays, photographer_from_world: Float[Tensor, "r 3 4"] | None = None) -> DenseRender:
        return self._rendered(rays, self.samples(rays), self._shading(rays, photographer_from_world))

    def maps(self, rays: Rays, photographer_from_world: Float[Tensor, "r 3 4"] | None = None) -> SurfaceMaps:
        """What the surface is made of and how it is lit, where the rays meet it."""
        t, look = self.samples(rays), self._shading(rays, photographer_from_world)
        weights = self._rendered(rays, t, look).weights
        inv_s = self.sharpness.inv_s.detach()
        return surface_maps(rays.origins, rays.directions, t, weights, self.distance, look, self.level, inv_s)

    def samples(self, rays: Rays) -> Float[Tensor, "r samples"]:
        """Distances along the rays at which they are looked at."""
        near, far = near_far(rays.origins, rays.directions)
        c = self.config.dense
        return sample_ray(
            rays.origins,
            rays.directions,
            near[:, None],
            far[:, None],
            self.level,
            self.sharpness.inv_s.detach(),
            even=c.even,
            more=c.more,
            rounds=c.rounds,
            beyond=c.beyond,
        )

    def _rendered(self, rays: Rays, t: Float[Tensor, "r samples"], look: ShadeFn) -> DenseRender:
        inv_s = self.sharpness.inv_s
        return render_dense(rays.origins, rays.directions, t, self.distance, look, self.outside, inv_s, self.cos_anneal)

    def _shading(self, rays: Rays, photographer_from_world: Float[Tensor, "r 3 4"] | None) -> ShadeFn:
        def look(points: Tensor, gradients: Tensor, features: Tensor, ray: Tensor) -> Appearance:
            frames = None if photographer_from_world is None else photographer_from_world[ray]
            material = self.texture.material(points, features)
            view_dirs = -rays.directions[ray]
            return shade(points, gradients, view_dirs, material, self.texture.lights, self.reflectance, frames)

        return look

    def level(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        return self.geometry(self.encoding(points))[:, 0]

    def distance(
        self, points: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"], Float[Tensor, "n features"]]:
        """Distance, its gradient, features."""
        raw, by_encoded = self.geometry.value_and_pullback(self.encoding(points))
        return raw[:, 0], pullback(self.encoding, points, by_encoded), raw[:, 1:]

    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        device = next(self.parameters()).device
        frame = photographer_frame(cameras.cam_from_world[index : index + 1, :3].float()).to(device)

        def look(rays: Rays) -> dict[str, Tensor]:
            out = self(rays, frame.expand(len(rays), 3, 4) if self.config.photographer else None)
            return {"rgb": out.rgb, "opacity": out.opacity, "distance": out.distance, "normals": out.normals}

        return render_rays(look, cameras, index, device)

    def extract_mesh(self, resolution: int) -> TriMesh:
        """The zero set, closed within the ball, with normals and the albedo."""
        corner = torch.ones(3, device=next(self.parameters()).device)
        return extract_surface(
            lambda p: torch.maximum(self.level(p), p.norm(dim=-1) - 1),
            -corner,
            corner,
            resolution,
            cap=True,
            gradient=lambda p: self.distance(p)[1],
            color=lambda p, _: linear_to_srgb(self.texture.material(p, self.distance(p)[2]).albedo),
        )


class PublishedModule(RayModule):
    """Trains a `PublishedModel` as published: Adam, a warm-up and half a cosine."""

    model: PublishedModel
    config: NeroShapeConfig

    def __init__(self, config: NeroShapeConfig, scene: Scene) -> None:
        super().__init__(PublishedModel(config), scene, config)
        self.frames: Tensor
        self.register_buffer(
            "frames", photographer_frame(scene.cameras.cam_from_world[:, :3].float()), persistent=False
        )

    def learning_rates(self) -> dict[str, float]:
        return {"": self.config.optim.rate}

    def configure_optimizers(self) -> Any:
        optim = self.config.optim
        optimizer = Adam(self.model.parameters(), lr=optim.rate)
        course = warmup(
            optim.warmup_steps, Cosine(self.config.fit.steps - optim.warmup_steps, end=optim.final), start=0.0
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": follow(optimizer, course), "interval": "step"}}

    def render_batch(self, batch: RayBatch) -> DenseRender:
        return self.model(batch.rays, self.frames[batch.view] if self.config.photographer else None)

    def losses(self, batch: RayBatch, out: DenseRender, step: int) -> dict[str, Float[Tensor, "..."]]:
        values: dict[str, Tensor] = {
            "rgb_charbonnier": charbonnier(out.rgb, batch.rgb),
            "eikonal": losses.eikonal(out.sdf_grad),
        }
        if self.weight("colorless_light", step):
            values["colorless_light"] = glossy.colorless_light(out.appearance.diffuse_light)
        if step < START_STEPS:
            points = out.all_points[out.all_points.norm(dim=-1) < START_RADIUS]
            sdf, weight = self.model.level(points), glossy.start_weight(step, START_STEPS)
            values["start"] = weight * (glossy.start_outside(points, sdf) + glossy.start_inside(points, sdf))[None]
        if self.weight("occlusion", step) and step >= self.config.occlusion_start:
            values["occlusion"] = self._occlusion(out)
        return values

    def _occlusion(self, out: DenseRender) -> Float[Tensor, "n"]:
        chosen = counts_for_occlusion(
            out.points, out.sdf, out.sdf_grad, out.directions, self.config.occlusion_distance
        ).nonzero()[:, 0]
        chosen = chosen[:: max(1, -(-len(chosen) // self.config.occlusion_points))]
        seen = out.appearance
        marched = find_crossings(
            out.points[chosen].detach(),
            seen.reflected[chosen].detach(),
            self.model.level,
            self.model.sharpness.inv_s.detach(),
        )
        return glossy.occlusion(seen.incoming.occlusion[chosen], marched.probability)
