"""From rays to colour, depth and normals: an unsigned distance field in the unit ball, and what lies behind it."""

from __future__ import annotations

import math
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
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.mlp import MLP
from rilievo.fields.radiance import RadianceField
from rilievo.fields.radiance_volume import RadianceVolume
from rilievo.fields.skip_mlp import SkipMLP
from rilievo.fields.udf import Sharpness, UdfField, UdfKind
from rilievo.fields.udf_color import BlendingRadiance
from rilievo.geometry.box import ray_ball
from rilievo.geometry.mesh import TriMesh
from rilievo.meshing.unsigned import extract_unsigned_surface
from rilievo.ops.packed import PackedSamples
from rilievo.ops.ray_march import march_rays
from rilievo.ops.ray_march.schedule import uniform_step
from rilievo.renderers.alpha import anneal_ratio, occupancy_alpha
from rilievo.renderers.udf_alpha import LEAST_LIGHT
from rilievo.renderers.udf_patches import COUNTS, PatchTarget, SampleRows, SourceColors, blend_from_sources
from rilievo.renderers.udf_surface import ColorFn, UnsignedRender, Widths, render_unsigned
from rilievo.renderers.udf_upsampling import UpsamplingKind, packed, upsampled
from rilievo.renderers.volume import VolumeRender

from .config import UdfConfig
from .outside import InvertedSphereVolume

RADIUS = 1.0
"""Of the region of interest, in the normalised world."""
LONGEST_STEP = 0.05
"""However soft the surface still is, in region radii."""
CAUTIOUS, TRUSTING = 0.9, 1.0
"""Share of a crossing that approaching samples are forgiven, in the middle and at the end of training."""
CROSSING_PER_OPACITY = 2.0
"""Least ratio of β to inv_s while they are sharpened: less, and the surface found is biased towards the eye."""
COLORS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class UdfRender:
    """What rays saw: the surface, what is behind it, and both together."""

    rgb: Float[Tensor, "rays 3"]
    """Surface over background."""
    base: Float[Tensor, "rays 3"] | None
    """The same with the colour that does not depend on the direction; None where the networks have none."""
    surface: UnsignedRender
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
        self.geometry = _geometry(config, generator)
        self.texture = _texture(config, generator)
        self.sharpness = Sharpness(config.sharpness, config.crossing_sharpness)
        self.occupancy = build.occupancy_grid(config.occupancy)
        self.step_length = self.finest_step = uniform_step(RADIUS, config.samples_per_ray)
        self.outside = _outside(config, generator) if learns_background(config, scene) else None
        self.step = 0

    def set_step(self, step: int) -> None:
        """Everything that follows the training step."""
        self.step = step
        self.geometry.set_step(step)
        width = self.config.step_per_width / float(self.widths.inv_s.detach())
        self.step_length = max(self.finest_step, min(width, LONGEST_STEP))
        if self.outside is not None:
            self.outside.set_step(step)

    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        if self.config.sampling == "march":
            self.occupancy.update(self._step_opacity, seed=seed, fraction=fraction)
        if self.outside is not None:
            self.outside.update_occupancy(seed=seed, fraction=fraction)

    def forward(self, rays: Rays, behind: Float[Tensor, "3"], jitter: Float[Tensor, "r"] | None = None) -> UdfRender:
        """Surface over the learned background, or over the colour `behind`."""
        near, far = ray_ball(rays.origins, rays.directions, torch.zeros_like(rays.origins[0]), RADIUS)
        hit = far > 0
        near, far = torch.where(hit, near.clamp_min(0), 0), torch.where(hit, far, 0)
        march = self._march if self.config.sampling == "march" else self._upsample
        samples = march(rays, near, far, jitter)
        surface = render_unsigned(
            rays, samples, self._udf_fn, self._color_fn(rays), self.widths, unit_slope=self.config.unit_slope
        )
        n_samples, background = len(samples), None
        shown = behind.expand_as(surface.rgb)
        if self.outside is not None:
            through = self._beyond(rays, torch.where(hit, far, self.config.outside.near), jitter)
            background = self.outside(rays, through)
            shown = background.rgb + behind * (1 - background.opacity[:, None])
            n_samples += len(through)
        shown_through = shown * (1 - surface.opacity[:, None])
        base = surface.extra + shown_through if surface.extra.shape[1] else None
        return UdfRender(surface.rgb + shown_through, base, surface, background, shown, n_samples)

    @property
    def widths(self) -> Widths:
        """How the surface is drawn at this step."""
        config, sharp, step = self.config, self.sharpness, self.step
        inv_s, beta = sharp.inv_s, sharp.beta
        trust = CAUTIOUS if step >= config.approach_step else 0.0
        trust = TRUSTING if step >= config.first_surface_step else trust
        if config.rates == "published" and step >= config.course.second_step:
            step, trust = step - config.course.second_step, TRUSTING
        if config.sharpen_to is not None:
            risen = anneal_ratio(step, config.sharpen_steps)
            least = math.exp(10 * (config.sharpness + (config.sharpen_to - config.sharpness) * risen))
            inv_s = inv_s.clamp_min(least)
            beta = torch.maximum(beta, CROSSING_PER_OPACITY * inv_s.detach())
        light = LEAST_LIGHT if config.shape == "published" else 0.0
        return Widths(inv_s, beta, sharp.gamma, trust, anneal_ratio(step, config.cos_anneal_steps), light)

    def from_sources(self, surface: UnsignedRender, rays: Rays, target: PatchTarget) -> SourceColors:
        """What other photographs show where rays were found to end; for networks that blend source views."""
        assert isinstance(self.texture, BlendingRadiance), "networks without weights of source views"
        counts = (surface.weights.detach() > COUNTS).nonzero()[:, 0]
        ray = torch.searchsorted(surface.offsets, counts, right=True) - 1
        points = surface.points[counts]
        sample = self.geometry(points)
        logits = self.texture(points, sample.feature, rays.directions[ray]).logits
        normals = F.normalize(sample.gradient.detach(), dim=-1)
        rows = SampleRows(points.detach(), normals, logits, surface.weights[counts], ray)
        return blend_from_sources(rows, target)

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

    def _march(
        self, rays: Rays, near: Float[Tensor, "r"], far: Float[Tensor, "r"], jitter: Float[Tensor, "r"] | None
    ) -> PackedSamples:
        """Intervals in occupied cells, the shorter the sharper the surface."""
        return march_rays(
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

    def _beyond(self, rays: Rays, start: Float[Tensor, "r"], jitter: Float[Tensor, "r"] | None) -> PackedSamples:
        """Intervals of the learned background."""
        assert self.outside is not None
        if isinstance(self.outside, InvertedSphereVolume):
            return self.outside.march(rays, start, jitter)
        return self.outside.march(rays, start, torch.full_like(start, self.config.outside.far), jitter)

    @torch.no_grad()
    def _upsample(
        self, rays: Rays, near: Float[Tensor, "r"], far: Float[Tensor, "r"], jitter: Float[Tensor, "r"] | None
    ) -> PackedSamples:
        """Even intervals through the region, and more near the surface."""
        config = self.config.upsampling
        hit = far > near
        hitting, begin, length = rays[hit], near[hit, None], (far - near)[hit, None]
        t = begin + length * torch.linspace(0, 1, config.even, device=near.device)
        last = length / config.even
        if jitter is not None:
            t = t + (jitter[hit, None] - 0.5) * last

        def points(t: Tensor) -> Tensor:
            return hitting.origins[:, None] + hitting.directions[:, None] * t[..., None]

        t = upsampled(
            t,
            lambda t: self.geometry.udf(points(t).reshape(-1, 3)).view(t.shape),
            lambda t: points(t).norm(dim=-1) < RADIUS,
            last_dt=2 * RADIUS / config.even,
            count=config.more,
            rounds=config.rounds,
            kind=UpsamplingKind(config.kind),
            gamma=float(self.sharpness.gamma),
        )
        return packed(t, last, hit)

    def _color_fn(self, rays: Rays) -> ColorFn:
        if isinstance(self.texture, RadianceField):
            plain = self.texture
            return lambda feature, ray, normals: plain(feature, rays.directions, normals, ray_index=ray)
        blending = self.texture

        def color(feature: Tensor, ray: Tensor, normals: Tensor) -> Tensor:
            seen = blending(feature[:, :3], feature[:, 3:], rays.directions[ray])
            return torch.cat([seen.color, seen.base], dim=-1)

        return color

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
        told = sample.feature if isinstance(self.texture, RadianceField) else torch.cat([points, sample.feature], -1)
        return sample.udf, sample.gradient, told

    def _step_opacity(self, unit: Tensor) -> Tensor:
        """What one step may find within half a cell's diagonal of a point."""
        distance = self.geometry.udf((unit * 2 - 1) * RADIUS)
        nearest = (distance - RADIUS * 3**0.5 / self.occupancy.resolution).clamp_min(0)
        return occupancy_alpha(nearest, self.step_length, self.widths.inv_s)

    @torch.no_grad()
    def _vertex_colors(self, vertices: np.ndarray, normals: np.ndarray, device: torch.device) -> np.ndarray:
        rgb = [
            self._color_fn(Rays(at, -n))(self._udf_fn(at)[2], torch.arange(len(at), device=device), n)[:, :3]
            for at, n in zip(
                torch.from_numpy(vertices).float().to(device).split(COLORS_AT_ONCE),
                F.normalize(torch.from_numpy(normals).float().to(device), dim=-1).split(COLORS_AT_ONCE),
            )
        ]
        colors = torch.cat(rgb) if rgb else torch.zeros(0, 3)
        return (colors.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _geometry(config: UdfConfig, generator: torch.Generator) -> UdfField:
    kind, there = UdfKind(config.kind), config.published
    if config.shape == "published":
        waves = CompositeEncoding(FrequencyEncoding(there.frequencies), scale=1.0, offset=0.0)
        deep = SkipMLP(
            waves.output_dim,
            1 + there.features,
            width=there.network.width,
            hidden_layers=there.network.hidden,
            skip_in=(there.network.hidden // 2,),
            sphere_radius=config.sphere_radius,
            generator=generator,
        )
        return UdfField(waves, deep, kind=kind)
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
    return UdfField(encoding, network, kind=kind, scale=1 / (2 * RADIUS), offset=0.5)


def _texture(config: UdfConfig, generator: torch.Generator) -> RadianceField | BlendingRadiance:
    if config.shape == "grid":
        return build.radiance(config.color, config.features, with_normals=True, generator=generator)
    return BlendingRadiance(
        config.published.features, width=config.color.width, hidden_layers=config.color.hidden, generator=generator
    )


def _outside(config: UdfConfig, generator: torch.Generator) -> RadianceVolume | InvertedSphereVolume:
    if config.outside_kind == "grid":
        return build.background(config.outside, RADIUS, generator)
    return InvertedSphereVolume(config.beyond, 2 * RADIUS / config.upsampling.even, generator)


def learns_background(config: UdfConfig, scene: Scene) -> bool:
    """Whether the world behind the region is modelled: by the config, or when object masks do not remove it."""
    if config.background == "auto":
        return scene.coverage is None or scene.mask_meaning is not MaskMeaning.OBJECT
    return config.background == "learned"


def asks_gaussians(config: UdfConfig, scene: Scene) -> bool:
    """Whether Gaussians take part: by the config, or when object masks leave them the object alone."""
    if config.gaussians.use == "auto":
        return scene.coverage is not None and scene.mask_meaning is MaskMeaning.OBJECT
    return config.gaussians.use == "on"
