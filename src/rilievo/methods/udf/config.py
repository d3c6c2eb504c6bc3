"""Settings of the unsigned distance field and its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rilievo.engine.schedules import Constant, Ramp, Schedule
from rilievo.engine.settings import (
    BackgroundConfig,
    FitConfig,
    HashGridConfig,
    MlpConfig,
    OccupancyConfig,
    OptimConfig,
)
from rilievo.gaussians.settings import RatesConfig, RelocationConfig
from rilievo.stretch import Step

from .witness_config import GaussianLosses, GaussiansConfig, LiftConfig


@dataclass(frozen=True)
class UdfLosses:
    """Weights of the losses; those at zero are not computed."""

    rgb_mse: Schedule = Constant(10.0)
    """Squared colour error."""
    rgb_l1: Schedule = Constant(0.0)
    """Absolute colour error."""
    rgb_base: Schedule = Constant(0.0)
    """Absolute error of the colour that is the same from everywhere; the published networks have one."""
    rgb_pixel: Schedule = Constant(0.0)
    """Absolute error of colours blended from other photographs; of the published networks in their second phase."""
    patch: Schedule = Constant(0.0)
    """Unlikeness (SSIM) of patches blended from other photographs; there, too."""
    eikonal: Schedule = Constant(0.1)
    """Gradient of length one."""
    eikonal_near: Schedule = Constant(0.0)
    """The same on rays, close to the surface alone."""
    mask: Schedule = Constant(0.1)
    """Opacity equal to the object mask; unused without object masks."""
    sparsity: Schedule = Constant(0.0)
    """Little surface."""
    sparsity_scale: float = 100.0
    """How near to the surface sparsity looks."""
    one_sided: Schedule = Constant(0.0)
    """No room between two layers: the network's number should not be negative."""
    near: Schedule = Constant(0.0)
    """Distances to what the Gaussians saw, close to it."""
    side: Schedule = Constant(0.0)
    """The network's number there below zero inside of something, and nowhere else, where it would make two layers of
    one."""
    direction: Schedule = Constant(0.0)
    """Directions away from it there."""
    far: Schedule = Constant(0.0)
    """Distances to it anywhere."""
    pull: Schedule = Constant(0.0)
    """Points pulled by the field arrive at Gaussians, every one of them, where they are now (GaussianUDF, eq. 6)."""
    discs: Schedule = Constant(0.0)
    """Heights over the discs of Gaussians, which it moves, too (GaussianUDF, eq. 7)."""
    depth: Schedule = Constant(0.0)
    """Where rays end: there where the Gaussians do now."""
    normal: Schedule = Constant(0.0)
    """Which way the surface faces there."""
    projection: Schedule = Constant(0.0)
    """Gaussians on the surface; moves only them."""


@dataclass(frozen=True)
class PublishedShape:
    """The published distance network: the point and its waves, fed in again half way."""

    network: MlpConfig = MlpConfig(width=256, hidden=8)
    """Layers."""
    features: int = 256
    """Channels handed from shape to colour."""
    frequencies: int = 6
    """Octaves of waves."""


@dataclass(frozen=True)
class PublishedBackground:
    """The published background: a network of all of space beyond the unit ball."""

    network: MlpConfig = MlpConfig(width=256, hidden=8)
    """Layers of its trunk."""
    samples: int = 32
    """Samples on each ray."""


@dataclass(frozen=True)
class UpsamplingConfig:
    """Samples along a ray, even ones first and more where these find the surface."""

    even: int = 64
    """Even samples."""
    more: int = 50
    """Further samples."""
    rounds: int = 5
    """Rounds in which they are drawn."""
    kind: Literal["classical", "mix"] = "classical"
    """Near the first surface; or near all of them first."""


@dataclass(frozen=True)
class CourseConfig:
    """Two phases with a warm-up each, as published: the second refines what the first has found."""

    shape_rate: float = 1e-4
    """Learning rate of the distance field in the first phase; that of the others is `optim.rate`."""
    second_rate: float = 1e-4
    """Learning rate of all parts in the second phase."""
    warmup_steps: Step = 5000
    """Steps over which the rates rise; twice as many for the distance field."""
    still_steps: Step = 500
    """Steps before the distance field moves at all."""
    second_step: Step = 300000
    """Where the second phase begins."""


@dataclass(frozen=True)
class PullConfig:
    """Points of a step at which losses to the Gaussians themselves are taken; lengths in region radii."""

    close_points: int = 5000
    """Pulled from close to Gaussians."""
    close_spread: float = 0.02
    """Deviation of these."""
    wide_points: int = 2000
    """Pulled from farther away."""
    wide_spread: float = 0.0
    """Deviation of these; 0 for points anywhere in the region."""
    discs: int = 500
    """Gaussians over whose discs heights are taken; the large among them twice."""
    points_each: int = 10
    """Points on each disc."""
    height: float = 0.02
    """Greatest height over a disc."""


@dataclass(frozen=True)
class UdfConfig:
    """An unsigned distance field in the unit ball, its colours, and what lies behind."""

    fit: FitConfig
    """Training."""
    optim: OptimConfig
    """Optimiser."""
    losses: UdfLosses
    """Weights of the losses."""
    grid: HashGridConfig
    """Hash grid of the distance field."""
    shape: Literal["grid", "published"] = "grid"
    """A hash grid and a small network, with colours told from the side that is seen; or the published networks."""
    published: PublishedShape = PublishedShape()
    """The published distance network."""
    sampling: Literal["march", "upsample"] = "march"
    """Steps through space that may hold something; or more samples where some have found the surface."""
    upsampling: UpsamplingConfig = UpsamplingConfig()
    """Settings of the latter."""
    rates: Literal["exponential", "published"] = "exponential"
    """Learning rates that fall as `optim` says; or the published course."""
    course: CourseConfig = CourseConfig()
    """The published course."""
    network: MlpConfig = MlpConfig()
    """Network of the distance field."""
    features: int = 13
    """Channels handed from shape to colour."""
    color: MlpConfig = MlpConfig(hidden=2)
    """Colour network."""
    kind: Literal["abs", "square"] = "abs"
    """How the network's number becomes a distance."""
    sphere_radius: float = 0.5
    """The sphere that training starts from, in region radii; negative for none: a mist, at whose centre the distance is
    this much."""
    samples_per_ray: int = 1024
    """Steps across the region's diagonal, were all of it occupied; no step is shorter."""
    step_per_width: float = 0.0
    """Longer steps while the surface is soft: this share of its width 1/inv_s. 0 for the shortest always."""
    unit_slope: bool = True
    """Opacity from the angle between ray and surface alone; off, steeper fields are drawn sharper."""
    cos_anneal_steps: Step = 20000
    """Steps until a surface seen along itself counts as little as it should."""
    approach_step: Step = 10000
    """From here on samples before a surface hide it by a tenth only of what they would."""
    first_surface_step: Step = 150000
    """From here on they do not hide it at all."""
    sharpness: float = 0.3
    """Start of v in inv_s = exp(10 v), the sharpness of opacity."""
    crossing_sharpness: float = 0.5
    """Start of the same number for the crossings that visibility counts."""
    sharpen_to: float | None = None
    """What the number is at least at `sharpen_steps`, on a straight line from its start; left to learning when left
    out."""
    sharpen_steps: Step = 1200
    """See `sharpen_to`."""
    occupancy: OccupancyConfig = OccupancyConfig()
    """Grid that skips empty space."""
    eikonal_points: int = 0
    """Points anywhere in the region, besides those on rays, at which the gradient is held to length one."""
    background: Literal["auto", "none", "learned"] = "auto"
    """What is behind the region: a learned volume, or one colour; auto learns it where no object masks cut it away."""
    background_color: Literal["random", "white"] = "random"
    """The colour, during training, behind objects that were cut out."""
    outside_kind: Literal["grid", "published"] = "grid"
    """The learned background: a hash grid and small networks, `outside`; or the published network, `beyond`."""
    outside: BackgroundConfig = BackgroundConfig()
    """The former."""
    beyond: PublishedBackground = PublishedBackground()
    """The latter."""
    half_patch: int = 5
    """Half side of the patches that losses compare, in pixels."""
    sources: int = 10
    """Photographs from which colours are blended."""
    near_points: int = 2048
    """Points at which losses close to what the Gaussians saw are taken."""
    far_points: int = 1024
    """Points at which distances to it are."""
    projected: int = 4096
    """Gaussians of a step that are asked to lie on the surface."""
    pull: PullConfig = PullConfig()
    """Where the losses `pull` and `discs` are taken."""
    gaussians: GaussiansConfig = GaussiansConfig()
    """The second witness."""


PAPER = UdfConfig(
    fit=FitConfig(steps=350000, samples=0, rays=512, max_rays=512, checkpoint_every=2500, preview_every=10000),
    optim=OptimConfig(rate=5e-4, sharpness_rate=5e-4, weight_decay=0.0),
    losses=UdfLosses(
        rgb_mse=Constant(0.0),
        rgb_l1=Constant(1.0),
        rgb_base=Ramp(0.0, 0.01, 20000, 10000),
        mask=Constant(0.0),
        rgb_pixel=Constant(0.1),
        patch=Constant(0.1),
    ),
    grid=HashGridConfig(),
    shape="published",
    sampling="upsample",
    rates="published",
    color=MlpConfig(width=128, hidden=4),
    unit_slope=False,
    outside_kind="published",
    cos_anneal_steps=25000,
    gaussians=GaussiansConfig(use="off"),
)
"""NeuralUDF's configuration for DTU in its two phases, the second with patches. Hours on a GPU."""

FAST = UdfConfig(
    fit=FitConfig(steps=1200, samples=24 * 1024, rays=1024, checkpoint_every=250),
    optim=OptimConfig(warmup_steps=80, final=0.05, cooldown_steps=150),
    losses=UdfLosses(
        sparsity=Constant(0.01),
        near=Ramp(30.0, 10.0, 950),
        side=Ramp(300.0, 100.0, 950),
        direction=Ramp(0.1, 0.02, 950),
        far=Constant(1.0),
        depth=Constant(0.5),
        normal=Constant(0.05),
        projection=Constant(0.5),
    ),
    grid=HashGridConfig(levels=12, log2_table=17, base=16, growth=1.4, start_level=4, update_steps=95),
    samples_per_ray=512,
    step_per_width=0.5,
    cos_anneal_steps=630,
    sharpen_to=0.62,
    sharpen_steps=950,
    approach_step=60,
    first_surface_step=380,
    occupancy=OccupancyConfig(resolution=64, decay=0.0, warmup_steps=64),
    eikonal_points=2048,
    outside=BackgroundConfig(
        grid=HashGridConfig(levels=10, log2_table=16, base=16, growth=1.5),
        samples_per_ray=48,
        occupancy=OccupancyConfig(resolution=64, threshold=0.01),
    ),
)
"""Small grids and few samples: minutes on two CPU cores."""

SMOKE = replace(
    FAST,
    fit=FitConfig(steps=60, samples=4096, rays=256, checkpoint_every=20, preview_every=60, log_every=5),
    optim=OptimConfig(),
    losses=replace(
        FAST.losses, sparsity=Constant(0.0), near=Constant(10.0), side=Constant(0.0), direction=Constant(0.1)
    ),
    grid=HashGridConfig(levels=6, log2_table=12, base=8, growth=1.5),
    network=MlpConfig(width=32),
    color=MlpConfig(width=32),
    samples_per_ray=128,
    cos_anneal_steps=30,
    sharpen_steps=50,
    approach_step=5,
    first_surface_step=20,
    near_points=256,
    far_points=128,
    projected=128,
    gaussians=GaussiansConfig(
        steps=30,
        rates=RatesConfig(means=2e-3, means_final=2e-4, sh_dc=2e-2, log_scales=2e-2, final=0.3),
        relocation=RelocationConfig(start=10, end=25, every=10, growth=1.2, max_gaussians=1200, noise=0.0),
        doublings=(10,),
        count=800,
        opacity=0.5,
        depths=16,
        sh_degree=1,
        sh_every=15,
        patches=64,
        half_patch=2,
        losses=GaussianLosses(normals=Ramp(0.0, 0.05, 15), views=Ramp(0.0, 0.1, 20)),
        lift=LiftConfig(views=4, agreeing=1, tolerance=0.1, cell=0.03, support=0.0),
    ),
    occupancy=OccupancyConfig(resolution=32, update_every=8, warmup_steps=16),
    outside=BackgroundConfig(
        grid=HashGridConfig(levels=4, log2_table=12, base=8, growth=1.6),
        samples_per_ray=16,
        occupancy=OccupancyConfig(resolution=32, threshold=0.01),
    ),
)
"""Seconds; for tests."""

PRESETS = {"fast": FAST, "paper": PAPER, "smoke": SMOKE}
