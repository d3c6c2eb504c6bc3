"""From rays to colour, depth and normals: a signed distance in the unit ball seen as a volume, and what lies behind it
(NeuS, Wang et al. 2021, arXiv:2106.10689). What gives its points their colours is left to methods.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.cameras.camera import Cameras
from rilievo.cameras.rays import Rays
from rilievo.data.scene import MaskMeaning, Scene
from rilievo.engine import build
from rilievo.engine.distance_config import DistanceConfig
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
from rilievo.renderers.surface import SurfaceRender, alpha_of_distances
from rilievo.renderers.volume import VolumeRender, march_visible

RADIUS = 1.0
"""Of the region of interest, in the normalised world."""
LONGEST_STEP = 0.05
"""However soft the surface still is, in region radii."""
SurfaceFn = Callable[[Rays, PackedSamples], SurfaceRender]
"""Rays and samples along them → how the surface looks."""


@dataclass(frozen=True)
class DistanceRender:
    """What rays saw: the surface, what is behind it, and both together."""

    rgb: Float[Tensor, "rays 3"]
    """Surface over background."""
    surface: SurfaceRender
    background: VolumeRender | None
    behind: Float[Tensor, "rays 3"]
    """Colour of the background alone."""
    n_samples: int


class DistanceModel(RayModel):
    """Distance, sharpness and occupancy, with a learned background where the photos show one.

    Subclasses bring `texture`, and see with it.
    """

    def __init__(self, config: DistanceConfig, scene: Scene) -> None:
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
        self.texture: nn.Module = self._build_texture(generator)
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

    @abstractmethod
    def _build_texture(self, generator: torch.Generator) -> nn.Module:
        """What gives points their colours."""

    @abstractmethod
    def _look(self, rays: Rays, index: int, cameras: Cameras) -> DistanceRender:
        """What rays of one camera see, for a picture, over white."""

    @abstractmethod
    def _surface_color(self, points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colours of a mesh."""

    def _see(
        self,
        rays: Rays,
        behind: Float[Tensor, "3"],
        jitter: Float[Tensor, "r"] | None,
        early_stop: float | None,
        surface_fn: SurfaceFn,
    ) -> DistanceRender:
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
        surface = surface_fn(rays, samples)
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
        return DistanceRender(rgb, surface, background, shown, n_samples)

    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera; what no surface and no background covers is white."""

        def look(rays: Rays) -> dict[str, Tensor]:
            out = self._look(rays, index, cameras)
            picture = {
                "rgb": out.rgb,
                "opacity": out.surface.opacity,
                "distance": out.surface.distance,
                "normals": out.surface.normals,
            }
            return picture | ({"background": out.behind} if self.outside is not None else {})

        return render_rays(look, cameras, index, next(self.parameters()).device)

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


def _difference_step(config: DistanceConfig) -> float | FinestCell:
    if config.difference_step is not None:
        return config.difference_step
    grid = config.grid
    shown = CoarseToFine(grid.levels if grid.start_level is None else grid.start_level, update_steps=grid.update_steps)
    return FinestCell(grid.base, grid.growth, grid.levels, shown)


def learns_background(config: DistanceConfig, scene: Scene) -> bool:
    """Whether the world behind the region is modelled: by the config, or when object masks do not remove it."""
    if config.background == "auto":
        return scene.coverage is None or scene.mask_meaning is not MaskMeaning.OBJECT
    return config.background == "learned"
