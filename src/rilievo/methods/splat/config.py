"""Settings of splat and its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rilievo.engine.schedules import Constant, Schedule
from rilievo.engine.settings import FitConfig
from rilievo.errors import clear
from rilievo.gaussians.settings import DensifyConfig, RatesConfig, RelocationConfig
from rilievo.stretch import Step, Steps


@dataclass(frozen=True)
class SplatLosses:
    """Weights of the losses; those at zero are not computed."""

    rgb_l1: Schedule = Constant(0.8)
    """Absolute colour error."""
    dssim: Schedule = Constant(0.2)
    """1 - SSIM."""
    opacity: Schedule = Constant(0.0)
    """Mean opacity: Gaussians that nothing needs fade, and relocation takes them elsewhere."""
    scale: Schedule = Constant(0.0)
    """Mean size, in extents of the scene."""


@dataclass(frozen=True)
class StartConfig:
    """Where the first Gaussians are."""

    points: Literal["auto", "scene", "photos"] = "auto"
    """The scene's own points, or points guessed from the photographs; auto takes the scene's where it has some."""
    count: int = 100_000
    """How many; the scene's points are thinned to this number."""
    opacity: float = 0.1
    """Of each."""
    depths: int = 48
    """Depths that are tried for each guessed point."""
    far: float = 30.0
    """Farthest guess, in region radii, where no masks say that there is only the object."""


@dataclass(frozen=True)
class SplatConfig:
    """A cloud of Gaussians and how it is trained."""

    fit: FitConfig
    """Training; its numbers of rays and samples have no meaning here."""
    strategy: Literal["densify", "relocate"] = "densify"
    """How the number of Gaussians changes: see `densify` and `relocation`, of which the other is not used."""
    densify: DensifyConfig = DensifyConfig()
    """Clone, split, prune and reset."""
    relocation: RelocationConfig = RelocationConfig()
    """Move faint Gaussians to where opaque ones are."""
    rates: RatesConfig = RatesConfig()
    """Learning rates."""
    losses: SplatLosses = SplatLosses()
    """Weights of the losses."""
    start: StartConfig = StartConfig()
    """The first Gaussians."""
    sh_degree: int = 3
    """Highest band of the spherical harmonics of colour, 0 to 3."""
    sh_every: Step = 1000
    """Steps until the next band is used."""
    antialiased: bool = False
    """Fade Gaussians thinner than a pixel instead of widening them."""
    doublings: Steps = ()
    """Steps from which training pictures are twice as wide; after the last they are as stored."""
    background_color: Literal["random", "white"] = "random"
    """The colour behind all Gaussians during training."""
    exposure: bool = False
    """Learn exposure and white balance of each photo beside the scene."""
    exposure_rate: float = 1e-3
    """Learning rate of `exposure`."""
    compact: bool = False
    """Write gaussians.npz beside gaussians.ply: rounded to what pictures show, and less than a quarter of its size."""

    def __post_init__(self) -> None:
        if not 0 <= self.sh_degree <= 3:
            raise clear("--sh-degree", expected="0 to 3", got=str(self.sh_degree), do="3 is usual")
        if self.start.count < 1:
            raise clear("--start.count", expected="at least 1", got=str(self.start.count), do="20000 is usual")


PAPER = SplatConfig(
    fit=FitConfig(steps=30_000, samples=0, checkpoint_every=2000, preview_every=2000),
    background_color="white",
)
"""The published 3D Gaussian splatting."""

FAST = replace(
    PAPER,
    fit=FitConfig(steps=1200, samples=0, checkpoint_every=200, preview_every=600),
    strategy="relocate",
    relocation=RelocationConfig(start=100, end=1050, every=50, growth=1.05, max_gaussians=40_000),
    rates=RatesConfig(means=3.2e-4, means_final=6.4e-6, sh_rest=5e-4, final=0.1),
    losses=SplatLosses(rgb_l1=Constant(1.0), opacity=Constant(0.01), scale=Constant(0.01)),
    start=StartConfig(count=25_000, depths=32),
    sh_degree=2,
    sh_every=500,
    doublings=(400, 900),
    background_color="random",
)
"""Few Gaussians, small pictures first, moved about instead of multiplied: minutes on two CPU cores."""

SMOKE = replace(
    FAST,
    fit=FitConfig(steps=60, samples=0, checkpoint_every=20, preview_every=60, log_every=5),
    relocation=RelocationConfig(start=10, end=50, every=10, growth=1.2, max_gaussians=1200),
    rates=RatesConfig(means=2e-3, means_final=2e-4, sh_dc=2e-2, log_scales=2e-2, final=0.3),
    start=StartConfig(count=800, depths=16),
    sh_degree=1,
    sh_every=30,
    doublings=(20,),
)
"""Seconds; for tests."""

PRESETS = {"fast": FAST, "paper": PAPER, "smoke": SMOKE}
