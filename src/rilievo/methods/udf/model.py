"""From rays to colour, depth and normals: an unsigned distance field in the unit ball, and what lies behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
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
from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.mlp import MLP
from rilievo.fields.udf import Sharpness, UdfField, UdfKind
from rilievo.geometry.box import ray_ball
from rilievo.geometry.mesh import TriMesh
from rilievo.meshing.unsigned import extract_unsigned_surface
from rilievo.ops.ray_march import march_rays
from rilievo.ops.ray_march.schedule import uniform_step
from rilievo.renderers.alpha import anneal_ratio, occupancy_alpha
from rilievo.renderers.surface import ColorFn, SurfaceRender
from rilievo.renderers.udf_surface import Widths, render_unsigned
from rilievo.renderers.volume import VolumeRender

from .config import UdfConfig

RADIUS = 1.0
"""Of the region of interest, in the normalised world."""
LONGEST_STEP = 0.05
"""However soft the surface still is, in region radii."""
CAUTIOUS, TRUSTING = 0.9, 1.0
"""Share of a crossing that approaching samples are forgiven, in the middle and at the end of training."""
COLORS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class UdfRender:
    """What rays saw: the surface, what is behind it, and both together."""

    rgb: Float[Tensor, "rays 3"]
    """Surface over background."""
    surface: SurfaceRender
    """With u and ∇u, and normals towards the eye."""
    background: VolumeRender | None
    behind: Float[Tensor, "rays 3"]
    """Colour of the background alone."""
    n_samples: int


class UdfModel(RayModel):
    """Unsigned distance, colour, sharpness and occupancy; with a learned background where the photos show one."""

    def __init__(self, config: UdfConfig, scene: Scene) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.fit.seed)
        encoding = CompositeEncoding(build.hash_grid(config.grid, generator))
        network = MLP(
            encoding.output_dim,
            1 + config.features,
            width=config.network.width,
            hidden_layers=config.network.hidden,
            sphere_radius=config.sphere_radius,
            weight_norm=True,
            generator=generator,
        )
        self.geometry = UdfField(encoding, network, kind=UdfKind(config.kind), scale=1 / (2 * RADIUS), offset=0.5)
        self.texture = build.radiance(config.color, config.features, with_normals=True, generator=generator)
        self.sharpness = Sharpness(config.sharpness, config.crossing_sharpness)
        self.occupancy = build.occupancy_grid(config.occupancy)
        self.step_length = self.finest_step = uniform_step(RADIUS, config.samples_per_ray)
        self.outside = build.background(config.outside, RADIUS, generator) if learns_background(config, scene) else None
        self.step = 0

    def set_step(self, step: int) -> None:
        """Everything that follows the training step."""
        self.step = step
        self.geometry.set_step(step)
        width = self.config.step_per_width / float(self.sharpness.inv_s.detach())
        self.step_length = max(self.finest_step, min(width, LONGEST_STEP))
        if self.outside is not None:
            self.outside.set_step(step)

    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        self.occupancy.update(self._step_opacity, seed=seed, fraction=fraction)
        if self.outside is not None:
            self.outside.update_occupancy(seed=seed, fraction=fraction)

    def forward(self, rays: Rays, behind: Float[Tensor, "3"], jitter: Float[Tensor, "r"] | None = None) -> UdfRender:
        """Surface over the learned background, or over the colour `behind`."""
        near, far = ray_ball(rays.origins, rays.directions, torch.zeros_like(rays.origins[0]), RADIUS)
        hit = far > 0
        near, far = torch.where(hit, near.clamp_min(0), 0), torch.where(hit, far, 0)
        samples = march_rays(
            rays.origins,
            rays.directions,
            near,
            far,
            self.occupancy.occupied,
            radius=RADIUS,
            contraction="box",
            step=self.step_length,
            jitter=jitter,
        )
        surface = render_unsigned(rays, samples, self._udf_fn, self._color_fn(rays), self.widths)
        n_samples, background = len(samples), None
        shown = behind.expand_as(surface.rgb)
        if self.outside is not None:
            start = torch.where(hit, far, self.config.outside.near)
            through = self.outside.march(rays, start, torch.full_like(start, self.config.outside.far), jitter)
            background = self.outside(rays, through)
            shown = background.rgb + behind * (1 - background.opacity[:, None])
            n_samples += len(through)
        rgb = surface.rgb + shown * (1 - surface.opacity[:, None])
        return UdfRender(rgb, surface, background, shown, n_samples)

    @property
    def widths(self) -> Widths:
        """How the surface is drawn at this step."""
        config, sharp = self.config, self.sharpness
        trust = 0.0 if self.step < config.approach_step else CAUTIOUS
        trust = TRUSTING if self.step >= config.first_surface_step else trust
        return Widths(sharp.inv_s, sharp.beta, sharp.gamma, trust, anneal_ratio(self.step, config.cos_anneal_steps))

    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera; what no surface and no background covers is white."""
        return render_rays(self._look, cameras, index, next(self.parameters()).device)

    def extract_mesh(self, resolution: int) -> TriMesh:
        """The zero set, open where the surface ends, with normals and colours (each as seen from straight above)."""
        self.eval()
        device = next(self.parameters()).device
        corner = torch.full((3,), RADIUS, device=device)
        mesh = extract_unsigned_surface(
            self.geometry.distance, -corner, corner, resolution, gradient=lambda points: self.geometry(points).gradient
        )
        normals = mesh.vertex_normals.astype(mesh.vertices.dtype)
        return replace(mesh, normals=normals, colors=self._vertex_colors(mesh.vertices, normals, device))

    def _color_fn(self, rays: Rays) -> ColorFn:
        return lambda feature, ray, normals: self.texture(feature, rays.directions, normals, ray_index=ray)

    def _look(self, rays: Rays) -> dict[str, Tensor]:
        out = self(rays, torch.ones(3, device=rays.origins.device))
        picture = {
            "rgb": out.rgb,
            "opacity": out.surface.opacity,
            "distance": out.surface.distance,
            "normals": out.surface.normals,
        }
        return picture | ({"background": out.behind} if self.outside is not None else {})

    def _udf_fn(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sample = self.geometry(points)
        return sample.udf, sample.gradient, sample.feature

    def _step_opacity(self, unit: Tensor) -> Tensor:
        """What one step may find within half a cell's diagonal of a point."""
        distance = self.geometry.udf((unit * 2 - 1) * RADIUS)
        nearest = (distance - RADIUS * 3**0.5 / self.occupancy.resolution).clamp_min(0)
        return occupancy_alpha(nearest, self.step_length, self.sharpness.inv_s)

    @torch.no_grad()
    def _vertex_colors(self, vertices: np.ndarray, normals: np.ndarray, device: torch.device) -> np.ndarray:
        rgb = [
            self.texture(self.geometry(at).feature, -n, n)
            for at, n in zip(
                torch.from_numpy(vertices).float().to(device).split(COLORS_AT_ONCE),
                F.normalize(torch.from_numpy(normals).float().to(device), dim=-1).split(COLORS_AT_ONCE),
            )
        ]
        colors = torch.cat(rgb) if rgb else torch.zeros(0, 3)
        return (colors.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def learns_background(config: UdfConfig, scene: Scene) -> bool:
    """Whether the world behind the region is modelled: by the config, or when object masks do not remove it."""
    if config.background == "auto":
        return scene.coverage is None or scene.mask_meaning is not MaskMeaning.OBJECT
    return config.background == "learned"
