"""Settings of NeRO's first stage and its presets. What is not about light is as for NeuS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rilievo.engine.distance_config import DistanceConfig, DistanceLosses
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
class NeroShapeLosses(DistanceLosses):
    """Weights of the losses; those at zero are not computed."""

    rgb_charbonnier: Schedule = Constant(1.0)
    """Length of the colour error, rounded off at zero."""
    occlusion: Schedule = Constant(1.0)
    """The network that says what is hidden, against rays marched through the distance field."""
    colorless_light: Schedule = Constant(0.0)
    """Diffuse light without a colour of its own, so that colour goes to the albedo."""
    start: Schedule = Constant(1.0)
    """Of the published networks: empty beyond the unit sphere, matter at its centre, for a thousand steps."""


@dataclass(frozen=True)
class LightConfig:
    """Direct, indirect and photographer's light as networks of direction and place."""

    network: MlpConfig = MlpConfig(hidden=2)
    """Each of them, and the one that says what is hidden."""
    degree: int = 5
    """Of the integrated directional encoding: bands up to 2^(degree - 1)."""
    place_octaves: int = 4
    """Frequencies of position, for indirect light and for what is hidden."""
    from_sphere: bool = False
    """Direct light depends on where a ray leaves the region, so that near surroundings shift as they should."""
    max_exponent: float = 3.0
    """No light is brighter than e to this."""
    rate: float = 5e-3
    """Learning rate of these networks, and of the material's."""


@dataclass(frozen=True)
class DenseConfig:
    """Samples on each ray of the published networks."""

    even: int = 64
    """Evenly, within the unit sphere."""
    more: int = 64
    """Where a surface may be."""
    rounds: int = 4
    """In which these are found."""
    beyond: int = 32
    """Outside, ever farther apart."""


@dataclass(frozen=True)
class NeroShapeConfig(DistanceConfig):
    """A distance field in the unit ball that is seen by the light it reflects, and what lies behind."""

    losses: NeroShapeLosses
    """Weights of the losses."""
    lights: LightConfig = LightConfig()
    """The surroundings."""
    photographer: bool = False
    """Whoever took the photos is mirrored in the object; the world's z must be up."""
    shaded_weight: float = 1e-3
    """Samples that a ray sees less of than this are left out."""
    occlusion_start: Step = 20000
    """From this step on the network for what is hidden is taught."""
    occlusion_points: int = 128
    """Rays marched for that in each step."""
    occlusion_distance: float = 0.01
    """They start this near to the surface, in region radii."""
    networks: Literal["grid", "published"] = "grid"
    """A hash grid, small networks and an occupancy grid; or the published ones, with as many samples on every ray, for
    which the settings of grids, distance network and background have no meaning."""
    dense: DenseConfig = DenseConfig()
    """Samples on each ray of the published networks."""


FAST = NeroShapeConfig(
    fit=FitConfig(steps=4000, samples=24 * 1024, rays=1024, checkpoint_every=250),
    optim=OptimConfig(warmup_steps=100, final=0.05, cooldown_steps=600),
    losses=NeroShapeLosses(rgb_mse=Constant(0.0)),
    grid=HashGridConfig(levels=10, log2_table=17, base=16, growth=1.4, start_level=4, update_steps=240),
    samples_per_ray=512,
    step_per_width=0.5,
    cos_anneal_steps=1600,
    occlusion_start=800,
    occupancy=OccupancyConfig(resolution=64, decay=0.0, warmup_steps=64),
    eikonal_points=2048,
    outside=BackgroundConfig(
        grid=HashGridConfig(levels=10, log2_table=16, base=16, growth=1.5),
        samples_per_ray=48,
        occupancy=OccupancyConfig(resolution=64, threshold=0.01),
    ),
)
"""Small grids and networks: a quarter of an hour on two CPU cores. The finest of 10 levels has 330 cells a side, which
suits photos of some 300 pixels; for larger ones `--grid.levels 12`."""

SMOKE = replace(
    FAST,
    fit=FitConfig(steps=60, samples=4096, rays=256, checkpoint_every=20, preview_every=60, log_every=5),
    optim=OptimConfig(),
    grid=HashGridConfig(levels=6, log2_table=12, base=8, growth=1.5),
    network=MlpConfig(width=32),
    color=MlpConfig(width=32),
    lights=LightConfig(network=MlpConfig(width=32), degree=3, place_octaves=2),
    samples_per_ray=128,
    cos_anneal_steps=30,
    occlusion_start=20,
    occlusion_points=32,
    occupancy=OccupancyConfig(resolution=32, update_every=8, warmup_steps=16),
    outside=BackgroundConfig(
        grid=HashGridConfig(levels=4, log2_table=12, base=8, growth=1.6),
        samples_per_ray=16,
        occupancy=OccupancyConfig(resolution=32, threshold=0.01),
    ),
)
"""Seconds; for tests."""

PAPER = NeroShapeConfig(
    fit=FitConfig(steps=300_000, samples=0, rays=512, max_rays=512, checkpoint_every=5000, preview_every=10_000),
    optim=OptimConfig(rate=5e-4, warmup_steps=5000, final=0.05),
    losses=NeroShapeLosses(rgb_mse=Constant(0.0)),
    grid=HashGridConfig(),
    networks="published",
    color=MlpConfig(width=256, hidden=3),
    lights=LightConfig(network=MlpConfig(width=256, hidden=3), place_octaves=8, max_exponent=0.0),
    cos_anneal_steps=50_000,
    occlusion_start=20_000,
    occlusion_points=2048,
    occupancy=OccupancyConfig(update_every=1 << 30),
    background_color="white",
)
"""The published networks, samples and schedules: hours on a GPU."""

PRESETS = {"fast": FAST, "paper": PAPER, "smoke": SMOKE}
