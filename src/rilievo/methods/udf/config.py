"""Settings of the unsigned distance field and its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rilievo.engine.schedules import Constant, Schedule
from rilievo.engine.settings import (
    BackgroundConfig,
    FitConfig,
    HashGridConfig,
    MlpConfig,
    OccupancyConfig,
    OptimConfig,
)
from rilievo.stretch import Step


@dataclass(frozen=True)
class UdfLosses:
    """Weights of the losses; those at zero are not computed."""

    rgb_mse: Schedule = Constant(10.0)
    """Squared colour error."""
    rgb_l1: Schedule = Constant(0.0)
    """Absolute colour error."""
    eikonal: Schedule = Constant(0.1)
    """Gradient of length one."""
    mask: Schedule = Constant(0.1)
    """Opacity equal to the object mask; unused without object masks."""
    sparsity: Schedule = Constant(0.0)
    """Little surface."""
    sparsity_scale: float = 100.0
    """How near to the surface sparsity looks."""
    one_sided: Schedule = Constant(0.0)
    """No room between two layers: the network's number should not be negative."""


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
    network: MlpConfig = MlpConfig()
    """Network of the distance field."""
    features: int = 13
    """Channels handed from shape to colour."""
    color: MlpConfig = MlpConfig(hidden=2)
    """Colour network."""
    kind: Literal["abs", "square"] = "abs"
    """How the network's number becomes a distance."""
    sphere_radius: float = 0.5
    """The ball that training starts from, in region radii."""
    samples_per_ray: int = 1024
    """Steps across the region's diagonal, were all of it occupied; no step is shorter."""
    step_per_width: float = 0.0
    """Longer steps while the surface is soft: this share of its width 1/inv_s. 0 for the shortest always."""
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
    occupancy: OccupancyConfig = OccupancyConfig()
    """Grid that skips empty space."""
    eikonal_points: int = 0
    """Points anywhere in the region, besides those on rays, at which the gradient is held to length one."""
    background: Literal["auto", "none", "learned"] = "auto"
    """What is behind the region: a learned volume, or one colour; auto learns it where no object masks cut it away."""
    background_color: Literal["random", "white"] = "random"
    """The colour, during training, behind objects that were cut out."""
    outside: BackgroundConfig = BackgroundConfig()
    """The learned background."""


PAPER = UdfConfig(
    fit=FitConfig(steps=20000, samples=256 * 1024),
    optim=OptimConfig(warmup_steps=500),
    losses=UdfLosses(),
    grid=HashGridConfig(base=32, growth=1.3195079107728942),
)

FAST = replace(
    PAPER,
    fit=FitConfig(steps=1900, samples=24 * 1024, rays=1024, checkpoint_every=250),
    optim=OptimConfig(warmup_steps=100, final=0.05),
    grid=HashGridConfig(levels=12, log2_table=17, base=16, growth=1.4, start_level=4, update_steps=150),
    samples_per_ray=512,
    step_per_width=0.5,
    cos_anneal_steps=1000,
    approach_step=100,
    first_surface_step=600,
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
    grid=HashGridConfig(levels=6, log2_table=12, base=8, growth=1.5),
    network=MlpConfig(width=32),
    color=MlpConfig(width=32),
    samples_per_ray=128,
    cos_anneal_steps=30,
    approach_step=5,
    first_surface_step=20,
    occupancy=OccupancyConfig(resolution=32, update_every=8, warmup_steps=16),
    outside=BackgroundConfig(
        grid=HashGridConfig(levels=4, log2_table=12, base=8, growth=1.6),
        samples_per_ray=16,
        occupancy=OccupancyConfig(resolution=32, threshold=0.01),
    ),
)
"""Seconds; for tests."""

PRESETS = {"fast": FAST, "paper": PAPER, "smoke": SMOKE}
