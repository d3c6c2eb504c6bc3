"""Settings of the second witness: Gaussians that learn the photographs, and points lifted from them. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rilievo.engine.schedules import Constant, Ramp, Schedule
from rilievo.gaussians.settings import RatesConfig, RelocationConfig
from rilievo.stretch import Step, Steps


@dataclass(frozen=True)
class GaussianLosses:
    """Weights of what the Gaussians learn from; those at zero are not computed."""

    rgb_l1: Schedule = Constant(0.8)
    """Absolute colour error."""
    dssim: Schedule = Constant(0.2)
    """1 - SSIM."""
    mask: Schedule = Constant(0.1)
    """Opacity equal to the object mask."""
    opacity: Schedule = Constant(0.01)
    """Mean opacity: Gaussians that nothing needs fade, and are moved elsewhere."""
    scale: Schedule = Constant(0.01)
    """Mean size, in extents of the scene."""
    normals: Schedule = Ramp(0.0, 0.05, 300)
    """Normals equal to those of the depth picture."""
    views: Schedule = Ramp(0.0, 1.5, 300)
    """Planes that look alike in several photographs; with a tenth of it they come to lie inside of convex parts."""


@dataclass(frozen=True)
class LiftConfig:
    """How depth pictures of the Gaussians become points of the surface."""

    views: int = 8
    """Other views that are asked about a point."""
    agreeing: int = 2
    """Of these have to see it, too."""
    tolerance: float = 0.01
    """Difference in depth that still counts as agreement, in region radii."""
    cell: float = 0.006
    """Points in a cell of this side become one, in region radii."""
    support: float = 0.6
    """A cell with less than this share of the points that are usual is none: what is wrong is seldom wrong alike."""


@dataclass(frozen=True)
class GaussiansConfig:
    """Flat Gaussians that learn the photographs first, and then tell the field where they saw a surface."""

    use: Literal["auto", "on", "off"] = "auto"
    """Whether there are any; auto where object masks cut away what is behind."""
    steps: Step = 800
    """Their own training, before that of the field."""
    checkpoint_every: int = 200
    """Steps between checkpoints of it."""
    losses: GaussianLosses = GaussianLosses()
    """Weights of its losses."""
    rates: RatesConfig = RatesConfig(means=3.2e-4, means_final=6.4e-6, sh_rest=5e-4, final=0.1)
    """Its learning rates."""
    relocation: RelocationConfig = RelocationConfig(
        start=100, end=650, every=50, growth=1.08, max_gaussians=25_000, noise=0.0
    )
    """How Gaussians move and multiply."""
    doublings: Steps = (150,)
    """Steps from which its pictures are twice as wide; after the last they are as stored."""
    count: int = 20_000
    """Gaussians at the start."""
    opacity: float = 0.1
    """Of each at the start."""
    depths: int = 64
    """Depths that are tried for each."""
    rounds: int = 20
    """Rounds in which its plane is then searched for."""
    reach: float = 0.03
    """How far off the depths tried are, in region radii."""
    unlike: float = 0.4
    """1 - squared correlation between pictures from which on a plane is not believed."""
    sh_degree: int = 2
    """Highest band of their colours' spherical harmonics, 0 to 3."""
    sh_every: Step = 200
    """Steps until the next band is used."""
    patches: int = 768
    """Patches of a picture that are looked for in the others at a step."""
    half_patch: int = 3
    """Their half side in pixels."""
    sources: int = 6
    """Other pictures in which they are looked for; the better half of them counts."""
    lift: LiftConfig = LiftConfig()
    """From their depth pictures to points."""
    insides: Literal["auto", "none"] = "auto"
    """Whether surfaces may close where no photograph shows them, as undersides do; auto where what was seen goes nearly
    all round something and no view looks into it; none for sheets that do so."""
    every: int = 4
    """Steps of the field from one step of theirs to the next, once both learn; 0 for no more of theirs."""
