"""Settings of NeRO's second stage and its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rilievo.engine.schedules import Constant, Ramp, Schedule
from rilievo.engine.settings import FitConfig, HashGridConfig, MlpConfig, OccupancyConfig, OptimConfig


@dataclass(frozen=True)
class NeroMaterialLosses:
    """Weights of the losses; those at zero are not computed."""

    rgb_charbonnier: Schedule = Constant(1.0)
    """Length of the colour error, rounded off at zero."""
    change: Schedule = Constant(0.05)
    """Material that differs from that a small step away along the surface."""
    colorless_light: Schedule = Constant(0.02)
    """Light without a colour of its own, so that colour goes to the albedo."""
    saturated: Schedule = Ramp(1e-3, 0.0, end_step=500)
    """Metallic and roughness so near to 0 or 1 that they would learn no more; at the start."""


@dataclass(frozen=True)
class NeroMaterialConfig:
    """Materials on a given surface, and the light round it."""

    fit: FitConfig
    """Training. `fit.rays` pixels are drawn in each step, and those that miss the surface left out."""
    optim: OptimConfig
    """Optimiser."""
    mesh: Path = Path()
    """The surface: a mesh file in the capture's frame, or the run of nero-shape or neus that found it."""
    mesh_resolution: int = 192
    """Cells along each side of the region, for a mesh that is extracted from a run."""
    losses: NeroMaterialLosses = NeroMaterialLosses()
    """Weights of the losses."""
    grid: HashGridConfig = HashGridConfig(levels=8, log2_table=15, base=16, growth=1.4)
    """Hash grid of the materials."""
    material: MlpConfig = MlpConfig()
    """Networks of albedo, metallic and roughness."""
    light: MlpConfig = MlpConfig(hidden=2)
    """Networks of direct and indirect light."""
    degree: int = 5
    """Of the directional encoding of light: bands up to 2^(degree - 1)."""
    place_octaves: int = 4
    """Frequencies of position, for indirect light."""
    max_exponent: float = 3.0
    """No light is brighter than e to this."""
    directions: int = 32
    """Light directions followed from each point in training."""
    render_directions: int = 64
    """The same for pictures."""
    change_step: float = 0.02
    """How far along the surface materials are compared, in region radii."""
    light_rate: float = 5e-3
    """Learning rate of the light's networks."""

    @property
    def background_color(self) -> Literal["white"]:
        """Behind the object in pictures and photos alike."""
        return "white"

    @property
    def occupancy(self) -> OccupancyConfig:
        """Where the surface is known there is no space to be searched."""
        return OccupancyConfig(update_every=1 << 30)


FAST = NeroMaterialConfig(
    fit=FitConfig(steps=2000, samples=0, rays=1024, max_rays=1024, checkpoint_every=250, preview_every=2000),
    optim=OptimConfig(warmup_steps=50, final=0.05),
)
"""Small grids and networks: minutes on two CPU cores."""

SMOKE = replace(
    FAST,
    fit=FitConfig(steps=40, samples=0, rays=256, max_rays=256, checkpoint_every=20, preview_every=40, log_every=5),
    optim=OptimConfig(),
    mesh_resolution=32,
    grid=HashGridConfig(levels=4, log2_table=12, base=8, growth=1.6),
    material=MlpConfig(width=32),
    light=MlpConfig(width=32),
    degree=3,
    directions=16,
    render_directions=16,
)
"""Seconds; for tests."""

PRESETS = {"fast": FAST, "smoke": SMOKE}
