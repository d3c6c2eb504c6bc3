"""A volume that glows: density and colour with the occupancy grid that makes rays through it cheap.

All of a NeRF, and the background of a NeuS. `contraction` is 'box' for a bounded volume ([-radius, radius]³) or
'unbounded_sphere' for all of space around the ball of `radius`.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.cameras.rays import Rays
from rilievo.geometry.box import Box
from rilievo.geometry.contraction import contract_box, contract_unbounded, uncontract_box, uncontract_unbounded
from rilievo.ops.packed import PackedSamples
from rilievo.ops.ray_march import Contraction, march_rays
from rilievo.renderers.volume import VolumeRender, alpha_of_density, march_visible, render_volume

from .density import DensityField
from .encoding import Encoding
from .occupancy import OccupancyGrid
from .radiance import RadianceField


class RadianceVolume(nn.Module):
    """Marches rays with intervals of clamp(cone_angle · t, step, max_step) and composites what it finds.

    `step` is in world units. `stride` multiplies every interval: early in training, when nothing is known to be empty,
    long steps let many rays share the samples.
    """

    def __init__(
        self,
        encoding: Encoding,
        density: nn.Module,
        color: RadianceField,
        occupancy: OccupancyGrid,
        *,
        contraction: Contraction,
        radius: float,
        step: float,
        cone_angle: float = 0.0,
        max_step: float = math.inf,
    ) -> None:
        super().__init__()
        self.contraction, self.radius = contraction, radius
        self.step, self.cone_angle, self.max_step = step, cone_angle, max_step
        self.stride = 1.0
        self.density = DensityField(encoding, density, self._contract)
        self.color, self.occupancy = color, occupancy

    def march(
        self,
        rays: Rays,
        t_min: Float[Tensor, "r"],
        t_max: Float[Tensor, "r"],
        jitter: Float[Tensor, "r"] | None = None,
        max_samples_per_ray: int | None = None,
    ) -> PackedSamples:
        """Intervals in occupied cells between `t_min` and `t_max` of each ray; none where t_min ≥ t_max."""
        return march_rays(
            rays.origins,
            rays.directions,
            t_min,
            t_max,
            self.occupancy.occupied,
            radius=self.radius,
            contraction=self.contraction,
            step=self.step * self.stride,
            cone_angle=self.cone_angle * self.stride,
            max_step=self.max_step * self.stride,
            jitter=jitter,
            max_samples_per_ray=max_samples_per_ray,
        )

    def march_visible(
        self,
        rays: Rays,
        t_min: Float[Tensor, "r"],
        t_max: Float[Tensor, "r"],
        jitter: Float[Tensor, "r"] | None = None,
        *,
        early_stop: float,
    ) -> tuple[PackedSamples, int]:
        """Those of `march` that light comes from, and how many were looked at."""
        return march_visible(
            rays, t_min, t_max, self.march, alpha_of_density(self._density_fn), early_stop=early_stop, jitter=jitter
        )

    def haste(
        self,
        rays: Rays,
        t_min: Float[Tensor, "r"],
        t_max: Float[Tensor, "r"],
        *,
        early_stop: float,
        looks: float,
    ) -> float:
        """How many times longer intervals must be for these rays to need at most `looks` of them each, in the mean.

        1 where surfaces have formed; above it in the fog that a volume is while it begins to learn.
        """
        _, looked = self.march_visible(rays, t_min, t_max, early_stop=early_stop)
        return max(1.0, looked / (looks * max(len(rays), 1)))

    def forward(self, rays: Rays, samples: PackedSamples) -> VolumeRender:
        """Composite samples."""
        return render_volume(
            rays,
            samples,
            self._density_fn,
            lambda feature, ray: self.color(feature, rays.directions, ray_index=ray),
        )

    def set_step(self, step: int) -> None:
        self.density.set_step(step)

    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        """Look again at cells: the opacity that one marching step has at a point of the cell."""
        self.occupancy.update(self._step_opacity, seed=seed, fraction=fraction)

    def _step_opacity(self, unit: Tensor) -> Tensor:
        points = self._uncontract(unit)
        dt = (points.norm(dim=-1) * self.cone_angle).clamp(self.step, self.max_step) * self.stride
        return -torch.expm1(-self.density(points).density * dt)

    def _density_fn(self, points: Tensor) -> tuple[Tensor, Tensor]:
        sample = self.density(points)
        return sample.density, sample.feature

    def _contract(self, points: Tensor) -> Tensor:
        if self.contraction == "box":
            return contract_box(points, Box.cube(self.radius, points))
        return contract_unbounded(points, self.radius)

    def _uncontract(self, unit: Tensor) -> Tensor:
        """Inverse of the contraction; cells at and beyond infinity are taken just within it."""
        if self.contraction == "box":
            return uncontract_box(unit, Box.cube(self.radius, unit))
        centred = unit - 0.5
        length = centred.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return uncontract_unbounded(0.5 + centred * (length.clamp_max(FARTHEST) / length), self.radius)


FARTHEST = 0.49975
"""Just inside the contracted ball of radius 1/2: a thousand radii away."""
