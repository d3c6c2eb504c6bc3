"""Settings of modgs and its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rilievo.engine.schedules import Constant, Schedule
from rilievo.engine.settings import FitConfig
from rilievo.errors import clear
from rilievo.gaussians.settings import DensifyConfig, RatesConfig, RelocationConfig
from rilievo.stretch import Step, Steps


@dataclass(frozen=True)
class ModgsLosses:
    """Weights of the losses of the second stage; those at zero are not computed."""

    rgb_l1: Schedule = Constant(1.0)
    """Absolute colour error."""
    dssim: Schedule = Constant(0.2)
    """1 - SSIM."""
    order: Schedule = Constant(0.1)
    """Depth that is right up to its order: see `depth_order`."""
    depth: Schedule = Constant(0.0)
    """Relative difference from the aligned depth."""
    pairs: Schedule = Constant(0.0)
    """The first stage's flow loss, kept up, in squared sides of the box of what moves."""
    opacity: Schedule = Constant(0.0)
    """Mean opacity: Gaussians that nothing needs fade, and relocation takes them elsewhere."""
    scale: Schedule = Constant(0.0)
    """Mean size, in region radii."""


@dataclass(frozen=True)
class ClipConfig:
    """What is known of a clip beside its photos, and where from."""

    depth: str | None = None
    """Folder of the capture with a depth file per frame (.npz, .npy or 16-bit .png, larger is farther), depth_mono or
    depth when left out; or hub:NAME, a depth model of the Hugging Face hub or in a folder, for which transformers must
    be installed."""
    flow: str = "dis"
    """Who computes optical flow (dis, farneback, lucas-kanade, tvl1, horn-schunck, raft, or ptlflow/NETWORK such as
    ptlflow/flownet2), or `files`: flow_fwd/ and flow_bwd/ of the capture, to the next and to the previous frame, or
    whatever its layout has between frames."""
    flow_weights: str | None = None
    """File with the weights of flow that is learned (raft, ptlflow/NETWORK)."""
    reach: tuple[int, ...] = ()
    """How many frames the ends of a pair are apart; every pair of frames when left out."""
    cycle_px: float = 3.0
    """A flow is believed where going there and back misses by less."""
    split: bool = False
    """Tell what moves from what stands still, and give motion to the first alone."""


@dataclass(frozen=True)
class MotionConfig:
    """The invertible motion and the stage that trains it alone."""

    steps: Step = 500_000
    """Updates of the first stage."""
    pairs: int = 1
    """Pairs of frames in one update."""
    points: int = 20_000
    """Points of a pair in one update."""
    kept: int = 20_000
    """Most points of a pair to draw them from; the published 300000 of every pair are more than a memory holds."""
    neighbors: int = 19
    """Neighbours that a point should go along with."""
    smoothness: float = 1.0
    """Weight of that."""
    forgive: float | None = None
    """Misses beyond this, in half sides of the box of what moves, count by their length instead of its square; never if
    left out, as published."""
    window: int = 8
    """Frames apart that pairs may be at first; twice as many after each eighth of the stage."""
    time_width: int = 256
    time_features: int = 128
    time_scale: float = 256.0
    """Fastest wave of the features of time, roughly in radians over the clip."""
    projection: int = 256
    hidden: tuple[int, ...] = (256, 256, 256)
    frequencies: int = 5
    affine: bool = False
    """Turn and shift the picture plane by depth and time before the coupling layers."""
    lattice: float | None = None
    """Tabulate steering networks with this spacing, in half sides of the box of what moves; exact when left out."""
    calm: float = 1.0
    """Factor on the last layer of steering networks before training: below 1 the motion begins near standing still."""
    time_rate: float = 1e-3
    """Learning rate of the features of time."""
    space_rate: float = 1e-4
    """Of the coupling layers."""
    final: float = 6.7e-3
    """What is left of the rates at the end of the first stage."""
    joint_time: float = 0.1
    joint_space: float = 1.0
    """Shares of the two rates in the second stage."""


@dataclass(frozen=True)
class CloudConfig:
    """The first Gaussians."""

    moving: int = 300_000
    """Of what moves: pixels of all frames, taken to the canonical space."""
    still: int = 100_000
    """Of what stands still, where the two are told apart."""
    opacity: float = 0.1
    """Of each."""


@dataclass(frozen=True)
class ModgsConfig:
    """A cloud of Gaussians in a canonical space, the motion that carries it, and how both are trained."""

    fit: FitConfig
    """Training of the second stage; its numbers of rays and samples have no meaning here."""
    clip: ClipConfig = ClipConfig()
    """Depth, flow, and what moves."""
    motion: MotionConfig = MotionConfig()
    """The motion and its own stage."""
    cloud: CloudConfig = CloudConfig()
    """The first Gaussians."""
    strategy: Literal["densify", "relocate"] = "densify"
    """How the number of Gaussians changes: see `densify` and `relocation`, of which the other is not used."""
    densify: DensifyConfig = DensifyConfig()
    """Clone, split, prune and reset."""
    relocation: RelocationConfig = RelocationConfig()
    """Move faint Gaussians to where opaque ones are; moving and still ones each get a share of the number."""
    rates: RatesConfig = RatesConfig()
    """Learning rates of the Gaussians, in region radii."""
    losses: ModgsLosses = ModgsLosses()
    """Weights of the losses."""
    depth_order: Literal["tanh", "ranking", "pearson", "pearson-either"] = "tanh"
    """How depth is compared with an estimate that is right up to its order."""
    depth_pairs: int = 200_000
    """Pairs of pixels that are compared at a step."""
    sh_degree: int = 3
    """Highest band of the spherical harmonics of colour, 0 to 3."""
    sh_every: Step = 1000
    """Steps until the next band is used."""
    turn: bool = True
    """Turn moving Gaussians as the motion turns; published ones keep their orientation."""
    antialiased: bool = False
    """Fade Gaussians thinner than a pixel instead of widening them."""
    doublings: Steps = ()
    """Steps from which training pictures are twice as wide; after the last they are as stored."""
    background_color: Literal["random", "white"] = "random"
    """The colour behind all Gaussians during training."""

    def __post_init__(self) -> None:
        if not 0 <= self.sh_degree <= 3:
            raise clear("--sh-degree", expected="0 to 3", got=str(self.sh_degree), do="3 is usual")
        for name, count in (("moving", self.cloud.moving), ("still", self.cloud.still)):
            if count < 1:
                raise clear(f"--cloud.{name}", expected="at least 1", got=str(count), do="10000 is usual")


PAPER = ModgsConfig(
    fit=FitConfig(steps=30_000, samples=0, checkpoint_every=2000, preview_every=2000),
    densify=DensifyConfig(start=4000, every=500, grad_threshold=1e-3, reset_every=10**12),
    rates=RatesConfig(log_scales=1e-3),
    turn=False,
)
"""The published settings: everything moves, every pair of frames, half a million steps for motion."""

FAST = replace(
    PAPER,
    fit=FitConfig(steps=1500, samples=0, checkpoint_every=250, preview_every=750),
    clip=ClipConfig(reach=(1, 2, 4, 8, 12), cycle_px=1.5, split=True),
    motion=MotionConfig(
        steps=1200,
        pairs=8,
        points=600,
        kept=3000,
        neighbors=8,
        smoothness=0.3,
        forgive=0.02,
        window=4,
        time_width=128,
        time_features=64,
        time_scale=24.0,
        projection=64,
        hidden=(128, 128),
        frequencies=4,
        calm=0.1,
        time_rate=4e-3,
        space_rate=4e-3,
        final=0.02,
        joint_space=0.1,
    ),
    cloud=CloudConfig(moving=10_000, still=22_000, opacity=0.3),
    strategy="relocate",
    relocation=RelocationConfig(start=100, end=1200, every=50, growth=1.03, max_gaussians=42_000),
    rates=RatesConfig(means=3.2e-4, means_final=6.4e-6, sh_rest=5e-4, final=0.1),
    losses=ModgsLosses(
        order=Constant(0.02), depth=Constant(0.1), pairs=Constant(1.0), opacity=Constant(0.01), scale=Constant(0.01)
    ),
    depth_pairs=8000,
    turn=True,
    sh_degree=1,
    sh_every=500,
    doublings=(300,),
)
"""Motion for what moves alone, small networks, several pairs an update, Gaussians moved instead of multiplied: minutes
on two CPU cores."""

SMOKE = replace(
    FAST,
    fit=FitConfig(steps=40, samples=0, checkpoint_every=20, preview_every=40, log_every=5),
    clip=replace(FAST.clip, reach=(1, 2)),
    motion=replace(
        FAST.motion,
        steps=80,
        pairs=2,
        points=100,
        time_width=32,
        time_features=16,
        time_scale=8.0,
        projection=16,
        hidden=(32,),
        time_rate=2e-2,
        space_rate=2e-2,
        final=0.1,
    ),
    cloud=CloudConfig(moving=500, still=1200, opacity=0.3),
    relocation=RelocationConfig(start=10, end=35, every=10, growth=1.1, max_gaussians=2200),
    rates=RatesConfig(means=2e-3, means_final=2e-4, sh_dc=2e-2, log_scales=2e-2, final=0.3),
    depth_pairs=500,
    sh_degree=0,
    doublings=(15,),
)
"""Seconds; for tests."""

PRESETS = {"fast": FAST, "paper": PAPER, "smoke": SMOKE}
