"""Settings of NeRF and its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rilievo.engine.schedules import Constant, Schedule
from rilievo.engine.settings import FitConfig, HashGridConfig, MlpConfig, OccupancyConfig, OptimConfig
from rilievo.stretch import Step


@dataclass(frozen=True)
class NerfLosses:
    """Weights of the losses; those at zero are not computed."""

    rgb: Schedule = Constant(1.0)
    """Colour error, squared where small (smooth L1)."""
    distortion: Schedule = Constant(0.0)
    """Weights gathered along each ray: against haze and floaters."""


@dataclass(frozen=True)
class NerfConfig:
    """A volume of density and colour, in the region alone or in all of space."""

    fit: FitConfig
    """Training."""
    optim: OptimConfig
    """Optimiser."""
    losses: NerfLosses = NerfLosses()
    """Weights of the losses."""
    space: Literal["auto", "region", "everywhere"] = "auto"
    """What is modelled: the region of interest, or all that the photos show; auto takes the region where object masks
    cut everything else away."""
    grid: HashGridConfig = HashGridConfig()
    """Hash grid."""
    density: MlpConfig = MlpConfig()
    """Density network."""
    features: int = 16
    """Channels handed from density to colour."""
    color: MlpConfig = MlpConfig(hidden=2)
    """Colour network."""
    samples_per_ray: int = 1024
    """Steps across the region's diagonal, were all of it occupied."""
    cone_angle: float = 1 / 256
    """Growth of steps with distance, everywhere but in a region of its own."""
    first_stride: float = 1.0
    """How many times longer steps are at first."""
    stride_steps: Step = 500
    """Training steps until they have their full fineness."""
    early_stop: float = 0.0
    """Samples are not trained on where less light than this would arrive from; 0 trains on all."""
    near: float = 0.1
    """Where rays start, in region radii; nothing is nearer to a camera."""
    far: float = 1e3
    """Where rays end, in region radii."""
    occupancy: OccupancyConfig = OccupancyConfig(threshold=0.01)
    """Grid that skips empty space."""
    background_color: Literal["random", "white"] = "random"
    """The colour, during training, behind all that the volume holds."""
    surface_density: float = 20.0
    """Density, per region radius, at which a mesh is drawn."""


PAPER = NerfConfig(
    fit=FitConfig(steps=20000, samples=256 * 1024),
    optim=OptimConfig(stairs=(10000, 15000, 18000)),
)
"""The published NeRF on hash grids (instant-nsr-pl's configuration for Blender scenes)."""

FAST = replace(
    PAPER,
    fit=FitConfig(steps=2000, samples=32 * 1024, rays=1024, checkpoint_every=250),
    optim=OptimConfig(warmup_steps=50, final=0.05, weight_decay=1e-6),
    losses=NerfLosses(distortion=Constant(1e-3)),
    grid=HashGridConfig(levels=14, log2_table=17, base=16, growth=1.45),
    samples_per_ray=512,
    cone_angle=1 / 128,
    first_stride=8.0,
    early_stop=1e-4,
    occupancy=OccupancyConfig(resolution=64, threshold=0.03, decay=0.8, warmup_steps=64),
)
"""Small tables and few samples: minutes on two CPU cores."""

SMOKE = replace(
    FAST,
    fit=FitConfig(steps=60, samples=8192, rays=256, checkpoint_every=20, preview_every=60, log_every=5),
    optim=OptimConfig(weight_decay=1e-6),
    grid=HashGridConfig(levels=6, log2_table=12, base=8, growth=1.6),
    density=MlpConfig(width=32),
    color=MlpConfig(width=32),
    samples_per_ray=128,
    cone_angle=1 / 32,
    occupancy=OccupancyConfig(resolution=32, threshold=0.01, update_every=8, warmup_steps=16),
)
"""Seconds; for tests."""

PRESETS = {"fast": FAST, "paper": PAPER, "smoke": SMOKE}
