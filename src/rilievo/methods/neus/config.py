"""Settings of NeuS and its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rilievo.engine.distance_config import DistanceConfig, DistanceLosses
from rilievo.engine.settings import (
    BackgroundConfig,
    FitConfig,
    HashGridConfig,
    MlpConfig,
    OccupancyConfig,
    OptimConfig,
)


@dataclass(frozen=True)
class NeusConfig(DistanceConfig):
    """A distance field in the unit ball, its colours, and what lies behind."""


PAPER = NeusConfig(
    fit=FitConfig(steps=20000, samples=256 * 1024),
    optim=OptimConfig(warmup_steps=500),
    losses=DistanceLosses(),
    grid=HashGridConfig(base=32, growth=1.3195079107728942),
    outside=BackgroundConfig(grid=HashGridConfig(base=32, growth=1.3195079107728942)),
)
"""The published NeuS on hash grids (instant-nsr-pl's configuration for Blender scenes)."""

FAST = replace(
    PAPER,
    fit=FitConfig(steps=1900, samples=24 * 1024, rays=1024, checkpoint_every=250),
    optim=OptimConfig(warmup_steps=100, final=0.05),
    grid=HashGridConfig(levels=12, log2_table=17, base=16, growth=1.4, start_level=4, update_steps=150),
    samples_per_ray=512,
    step_per_width=0.5,
    cos_anneal_steps=1000,
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
    occupancy=OccupancyConfig(resolution=32, update_every=8, warmup_steps=16),
    outside=BackgroundConfig(
        grid=HashGridConfig(levels=4, log2_table=12, base=8, growth=1.6),
        samples_per_ray=16,
        occupancy=OccupancyConfig(resolution=32, threshold=0.01),
    ),
)
"""Seconds; for tests."""

PRESETS = {"fast": FAST, "paper": PAPER, "smoke": SMOKE}
