"""Settings of NeRO's second stage and its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rilievo.engine.schedules import Constant, Ramp, Schedule
from rilievo.engine.settings import FitConfig, HashGridConfig, MlpConfig, OccupancyConfig, OptimConfig
from rilievo.errors import clear


@dataclass(frozen=True)
class NeroMaterialLosses:
    """Weights of the losses; those at zero are not computed."""

    rgb: Schedule = Constant(5.0)
    """Squared colour error, without the noise of the drawn directions; of the published networks its length."""
    sent: Schedule = Constant(0.5)
    """What reflections find on the surface, against what the photographs saw there."""
    change: Schedule = Constant(0.05)
    """Material that differs from that a small step away along the surface."""
    colorless_light: Schedule = Constant(0.02)
    """Light without a colour of its own, so that colour goes to the albedo."""
    undecided: Schedule = Ramp(0.0, 0.02, start_step=1000, end_step=2000)
    """Neither metal nor not."""
    saturated: Schedule = Ramp(1e-3, 0.0, end_step=500)
    """Metallic and roughness so near to 0 or 1 that they would learn no more; at the start."""


@dataclass(frozen=True)
class TextureConfig:
    """The mesh with maps of its material, for other programs."""

    size: int = 1024
    """Side of the maps in pixels."""
    faces: int = 40_000
    """Faces of that mesh; a normal map has what they leave out. With 0, or where the surface has no more, it is the
    whole surface, without a normal map."""

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 16384:
            raise clear("--texture.size", expected="16 to 16384", got=str(self.size), do="1024 is usual")
        if self.faces != 0 and self.faces < 100:
            raise clear("--texture.faces", expected="0 or at least 100", got=str(self.faces), do="40000 is usual")


@dataclass(frozen=True)
class NeroMaterialConfig:
    """Materials on a given surface, and the light round it."""

    fit: FitConfig
    """Training. `fit.rays` pixels are drawn in each step, and those that miss the surface left out."""
    optim: OptimConfig
    """Optimiser."""
    mesh: Path = Path()
    """The surface: a mesh file in the capture's frame, or the run of nero-shape or neus that found it."""
    networks: Literal["grid", "published"] = "grid"
    """Grids, a panorama and exact sampling; or the published networks and estimator, for which the settings of grids
    and panorama have no meaning."""
    mesh_resolution: int = 192
    """Cells along each side of the region, for a mesh that is extracted from a run."""
    losses: NeroMaterialLosses = NeroMaterialLosses()
    """Weights of the losses."""
    grid: HashGridConfig = HashGridConfig(levels=8, log2_table=15, base=16, growth=1.4)
    """Hash grid of the materials."""
    material: MlpConfig = MlpConfig()
    """Networks of albedo, metallic and roughness."""
    panorama_rows: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Rows of the maps whose sum is the logarithm of the direct light."""
    light_grid: HashGridConfig = HashGridConfig(levels=6, log2_table=15, base=16, growth=1.4)
    """Hash grid of the light that the surface sends on."""
    light: MlpConfig = MlpConfig(hidden=2)
    """Network of the light that the surface sends on."""
    degree: int = 4
    """Of the directional encoding of that light: bands up to 2^(degree - 1)."""
    max_exponent: float = 4.0
    """No light is brighter than e to this."""
    directions: int = 64
    """Light directions followed from each point in training, in two sets."""
    render_directions: int = 64
    """The same for pictures."""
    change_step: float = 0.02
    """How far along the surface materials are compared, in region radii."""
    light_rate: float = 1e-2
    """Learning rate of the light."""
    texture: TextureConfig = TextureConfig()
    """The mesh that other programs open."""

    @property
    def background_color(self) -> Literal["white"]:
        """Behind the object in pictures and photos alike."""
        return "white"

    @property
    def occupancy(self) -> OccupancyConfig:
        """Where the surface is known there is no space to be searched."""
        return OccupancyConfig(update_every=1 << 30)


FAST = NeroMaterialConfig(
    fit=FitConfig(steps=2000, samples=0, rays=1536, max_rays=1536, checkpoint_every=250, preview_every=2000),
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
    panorama_rows=(8, 16),
    light_grid=HashGridConfig(levels=4, log2_table=12, base=8, growth=1.6),
    light=MlpConfig(width=32),
    degree=3,
    directions=16,
    render_directions=16,
    texture=TextureConfig(size=128, faces=1000),
)
"""Seconds; for tests."""

PAPER = NeroMaterialConfig(
    fit=FitConfig(steps=100_000, samples=0, rays=512, max_rays=512, checkpoint_every=5000, preview_every=10_000),
    optim=OptimConfig(rate=5e-4, warmup_steps=1000, final=0.05),
    losses=NeroMaterialLosses(rgb=Constant(1.0), undecided=Constant(0.0)),
    networks="published",
    mesh_resolution=512,
    material=MlpConfig(width=256, hidden=3),
    light=MlpConfig(width=256, hidden=3),
    degree=5,
    max_exponent=5.0,
    directions=768,
)
"""The published networks, directions and schedules: hours on a GPU."""

PRESETS = {"fast": FAST, "paper": PAPER, "smoke": SMOKE}
