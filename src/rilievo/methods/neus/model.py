"""From rays to colour, depth and normals: the NeuS surface in the unit ball, and what lies behind it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.rays import Rays
from rilievo.data.scene import MaskMeaning, Scene
from rilievo.engine import build
from rilievo.engine.method import Rendering
from rilievo.engine.ray_model import RayModel
from rilievo.engine.render import render_rays
from rilievo.fields.encoding import CoarseToFine, CompositeEncoding
from rilievo.fields.mlp import MLP
from rilievo.fields.sdf import FinestCell, GradientKind, SdfField
from rilievo.fields.variance import InverseDeviation, SharpnessCap
from rilievo.geometry.box import ray_ball
from rilievo.geometry.mesh import TriMesh
from rilievo.meshing.surface import extract_surface
from rilievo.ops.packed import PackedSamples
from rilievo.ops.ray_march import march_rays
from rilievo.ops.ray_march.schedule import uniform_step
from rilievo.renderers.alpha import anneal_ratio, occupancy_alpha
from rilievo.renderers.surface import ColorFn, SurfaceRender, alpha_of_distances, render_surface
from rilievo.renderers.volume import VolumeRender, march_visible

from .config import NeusConfig

RADIUS = 1.0
"""Of the region of interest, in the normalised world."""
LONGEST_STEP = 0.05
"""However soft the surface still is, in region radii."""


@dataclass(frozen=True)
class NeusRender:
    """What rays saw: the surface, what is behind it, and both together."""

    rgb: Float[Tensor, "rays 3"]
    """Surface over background."""
    surface: SurfaceRender
    background: VolumeRender | None
    behind: Float[Tensor, "rays 3"]
    """Colour of the background alone."""
    n_samples: int


class NeusModel(RayModel):
    """Distance, colour, sharpness and occupancy; with a learned background where the photos show one."""

    def __init__(self, config: NeusConfig, scene: Scene) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.fit.seed)
        encoding = CompositeEncoding(build.hash_grid(config.grid, generator))
        network = MLP(
            encoding.output_dim,
            config.features,
            width=config.network.width,
            hidden_layers=config.network.hidden,
            sphere_radius=config.sphere_radius,
            weight_norm=True,
            generator=generator,
        )
        self.geometry = SdfField(
            encoding, network, radius=RADIUS, gradient=GradientKind(config.gradient), eps=_difference_step(config)
        )
        self.texture = build.radiance(config.color, config.features, with_normals=True, generator=generator)
        cap = config.max_inv_s and SharpnessCap(config.cap_start, config.cap_reach, config.max_inv_s)
        self.sharpness = InverseDeviation(config.sharpness, cap or None)
        self.occupancy = build.occupancy_grid(config.occupancy)
        self.step_length = self.finest_step = uniform_step(RADIUS, config.samples_per_ray)
        self.outside = build.background(config.outside, RADIUS, generator) if learns_background(config, scene) else None
        self.cos_anneal = 0.0

    def set_step(self, step: int) -> None:
        """Everything that follows the training step."""
        self.geometry.set_step(step)
        self.sharpness.set_step(step)
        self.cos_anneal = anneal_ratio(step, self.config.cos_anneal_steps)
        width = self.config.step_per_width / float(self.sharpness.inv_s.detach())
        self.step_length = max(self.finest_step, min(width, LONGEST_STEP))
        if self.outside is not None:
            self.outside.set_step(step)

    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        self.occupancy.update(self._step_opacity, seed=seed, fraction=fraction)
        if self.outside is not None:
            self.outside.update_occupancy(seed=seed, fraction=fraction)

    def forward(
        self,
        rays: Rays,
        behind: Float[Tensor, "3"],
        jitter: Float[Tensor, "r"] | None = None,
        *,
        early_stop: float | None = None,
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
        surface = render_surface(rays, samples, self._sdf_fn, self._color_fn(rays), inv_s, self.cos_anneal)
        n_samples, background = len(samples), None
        shown = behind.expand_as(surface.rgb)
        if self.outside is not None:
            start = torch.where(hit, far, self.config.outside.near)
            end = torch.full_like(start, self.config.outside.far)
            if early_stop is None:
                through = self.outside.march(rays, start, end, jitter)
            else:
                through, _ = self.outside.march_visible(rays, start, end, jitter, early_stop=early_stop)
            background = self.outside(rays, through)
            shown = background.rgb + behind * (1 - background.opacity[:, None])
            n_samples += len(through)
        rgb = surface.rgb + shown * (1 - surface.opacity[:, None])
        return NeusRender(rgb, surface, background, shown, n_samples)

    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera; what no surface and no background covers is white."""
        return render_rays(self._look, cameras, index, next(self.parameters()).device)

    def extract_mesh(self, resolution: int) -> TriMesh:
        """The zero set, closed within the ball, with normals and colours (each as seen from straight above)."""
        self.eval()
        corner = torch.full((3,), RADIUS, device=next(self.parameters()).device)
        return extract_surface(
            self._level, -corner, corner, resolution, cap=True, gradient=self._gradient, color=self._surface_color
        )

    def _march(
        self,
        rays: Rays,
        t_min: Float[Tensor, "r"],
        t_max: Float[Tensor, "r"],
        jitter: Float[Tensor, "r"] | None = None,
        max_samples_per_ray: int | None = None,
    ) -> PackedSamples:
        """Intervals in occupied cells, the shorter the sharper the surface."""
        return march_rays(
            rays.origins,
            rays.directions,
            t_min,
            t_max,
            self.occupancy.occupied,
            radius=RADIUS,
            contraction="box",
            step=self.step_length,
            jitter=jitter,
            max_samples_per_ray=max_samples_per_ray,
        )

    def _color_fn(self, rays: Rays) -> ColorFn:
        return lambda feature, ray, normals: self.texture(feature, rays.directions, normals, ray_index=ray)

    def _look(self, rays: Rays) -> dict[str, Tensor]:
        out = self(rays, torch.ones(3, device=rays.origins.device), early_stop=1e-3)
        picture = {
            "rgb": out.rgb,
            "opacity": out.surface.opacity,
            "distance": out.surface.distance,
            "normals": out.surface.normals,
        }
        return picture | ({"background": out.behind} if self.outside is not None else {})

    def _sdf_fn(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sample = self.geometry(points)
        assert sample.gradient is not None
        return sample.sdf, sample.gradient, sample.feature

    def _step_opacity(self, unit: Tensor) -> Tensor:
        """What one step may find within half a cell's diagonal of a point: little outside, and little deep inside too.

        The published rule keeps all of the inside, where a ray has nothing left to see.
        """
        distance = self.geometry.sdf((unit * 2 - 1) * RADIUS).abs()
        nearest = (distance - RADIUS * 3**0.5 / self.occupancy.resolution).clamp_min(0)
        return occupancy_alpha(nearest, self.step_length, self.sharpness.inv_s)

    def _level(self, points: Tensor) -> Tensor:
        """The distance, cut off at the ball's border."""
        return torch.maximum(self.geometry.sdf(points), points.norm(dim=-1) - RADIUS)

    def _gradient(self, points: Tensor) -> Tensor:
        return self._sdf_fn(points)[1]

    def _surface_color(self, points: Tensor, normals: Tensor) -> Tensor:
        feature = self.geometry(points, with_gradient=False).feature
        return self.texture(feature, -F.normalize(normals, dim=-1), normals)


def _difference_step(config: NeusConfig) -> float | FinestCell:
    if config.difference_step is not None:
        return config.difference_step
    grid = config.grid
    shown = CoarseToFine(grid.levels if grid.start_level is None else grid.start_level, update_steps=grid.update_steps)
    return FinestCell(grid.base, grid.growth, grid.levels, shown)


def learns_background(config: NeusConfig, scene: Scene) -> bool:
    """Whether the world behind the region is modelled: by the config, or when object masks do not remove it."""
    if config.background == "auto":
        return scene.coverage is None or scene.mask_meaning is not MaskMeaning.OBJECT
    return config.background == "learned"
