"""From rays to colour and depth: a radiance volume, of the region or of everything."""

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
from rilievo.fields.mlp import MLP
from rilievo.fields.radiance_volume import RadianceVolume
from rilievo.geometry.box import Box, ray_box
from rilievo.geometry.mesh import TriMesh
from rilievo.meshing.bricks import SIZE
from rilievo.meshing.surface import density_field, extract_surface
from rilievo.ops.ray_march.schedule import uniform_step
from rilievo.renderers.volume import VolumeRender

from .config import NerfConfig

RADIUS = 1.0
"""Of the region of interest, in the normalised world."""

EARLY_STOP = 1e-3
"""In pictures, samples are left out from where less light than this would arrive."""
MOST_LOOKS, PROBES = 64.0, 512
"""In pictures, rays look at the density so often at most, in the mean, judged by so many of them. Trained models need
10 to 40; one that has learned for a minute looks hundreds of times into fog, whose picture longer steps hardly change.
"""
LOOKS_PER_SAMPLE = 6
"""Looking at the density of so many samples costs as much as training on one."""


@dataclass(frozen=True)
class NerfRender:
    """What rays saw."""

    rgb: Float[Tensor, "rays 3"]
    """The volume over the colour behind it."""
    volume: VolumeRender
    n_samples: int
    """Trained on, or what looking for them cost, if that is more."""


class NerfModel(RayModel):
    """Density, colour and occupancy."""

    def __init__(self, config: NerfConfig, scene: Scene) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.fit.seed)
        encoding = build.hash_grid(config.grid, generator)
        density = MLP(
            encoding.output_dim,
            config.features,
            width=config.density.width,
            hidden_layers=config.density.hidden,
            generator=generator,
        )
        everywhere = models_everything(config, scene)
        self.volume = RadianceVolume(
            encoding,
            density,
            build.radiance(config.color, config.features, with_normals=False, generator=generator),
            build.occupancy_grid(config.occupancy, unbounded=everywhere),
            contraction="unbounded_sphere" if everywhere else "box",
            radius=RADIUS,
            step=uniform_step(RADIUS, config.samples_per_ray),
            cone_angle=config.cone_angle if everywhere else 0.0,
        )

    def set_step(self, step: int) -> None:
        """Everything that follows the training step."""
        self.volume.set_step(step)
        left = 1 - min(1.0, step / self.config.stride_steps)
        self.volume.stride = self.config.first_stride**left

    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        self.volume.update_occupancy(seed=seed, fraction=fraction)

    def forward(
        self,
        rays: Rays,
        behind: Float[Tensor, "3"],
        jitter: Float[Tensor, "r"] | None = None,
    ) -> NerfRender:
        """The volume over the colour `behind`."""
        near, far = self._stretch(rays)
        early_stop = self.config.early_stop if self.training else EARLY_STOP
        if early_stop:
            samples, looked = self.volume.march_visible(rays, near, far, jitter, early_stop=early_stop)
            cost = max(len(samples), looked // LOOKS_PER_SAMPLE)
        else:
            samples = self.volume.march(rays, near, far, jitter)
            cost = len(samples)
        seen = self.volume(rays, samples)
        return NerfRender(seen.rgb + behind * (1 - seen.opacity[:, None]), seen, cost)

    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera, over white; a volume that is still fog is seen in longer steps (`MOST_LOOKS`)."""
        device, usual = next(self.parameters()).device, self.volume.stride
        self.volume.stride = usual * self._haste(cameras, index, device)
        try:
            return render_rays(self._look, cameras, index, device)
        finally:
            self.volume.stride = usual

    def extract_mesh(self, resolution: int) -> TriMesh:
        """Where the density passes `surface_density`, within the region, closed at its border."""
        self.eval()
        corner = torch.full((3,), RADIUS, device=next(self.parameters()).device)
        level = density_field(lambda points: self.volume.density(points).density, self.config.surface_density)
        return extract_surface(
            lambda points: torch.where(points.norm(dim=-1) < RADIUS, level(points), level(points).clamp_min(1e-3)),
            -corner,
            corner,
            resolution,
            cap=True,
            coarse=SIZE,
            gradient=self._gradient,
            color=self._surface_color,
        )

    def _stretch(self, rays: Rays) -> tuple[Float[Tensor, "r"], Float[Tensor, "r"]]:
        """Where each ray enters and leaves what is modelled; 0 and 0 where it misses it."""
        if self.volume.contraction == "box":
            near, far = ray_box(rays.origins, rays.directions, Box.cube(RADIUS, rays.origins))
            hit = far > 0
            return torch.where(hit, near.clamp_min(0), 0), torch.where(hit, far, 0)
        near = torch.full_like(rays.origins[:, 0], self.config.near)
        return near, torch.full_like(near, self.config.far)

    def _haste(self, cameras: Cameras, index: int, device: torch.device) -> float:
        """By how much to lengthen the steps of a picture, judged by some of its rays."""
        rays = cameras.view_rays(index)
        chosen = torch.randint(len(rays), (PROBES,), generator=torch.Generator().manual_seed(0))
        some = rays[chosen].to(device)
        return self.volume.haste(some, *self._stretch(some), early_stop=EARLY_STOP, looks=MOST_LOOKS)

    def _look(self, rays: Rays) -> dict[str, Tensor]:
        out = self(rays, torch.ones(3, device=rays.origins.device))
        return {"rgb": out.rgb, "opacity": out.volume.opacity, "distance": out.volume.distance}

    def _gradient(self, points: Tensor) -> Tensor:
        """Outward: against the density's growth."""
        with torch.enable_grad():
            x = points.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.volume.density.level(x).sum(), x)
        return gradient

    def _surface_color(self, points: Tensor, normals: Tensor) -> Tensor:
        feature = self.volume.density(points).feature
        return self.volume.color(feature, -F.normalize(normals, dim=-1))


def models_everything(config: NerfConfig, scene: Scene) -> bool:
    """Whether space beyond the region is modelled: by the config, or when object masks do not remove it."""
    if config.space == "auto":
        return scene.coverage is None or scene.mask_meaning is not MaskMeaning.OBJECT
    return config.space == "everywhere"
