"""Settings that methods share, as frozen dataclasses. No torch here, so configs import at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from rilievo.engine.schedules import Exponential, Product, Ramp, Rate, Stairs, hold, warmup
from rilievo.errors import clear
from rilievo.stretch import Step, Steps


@dataclass(frozen=True)
class FitConfig:
    """One training run."""

    steps: int = 5000
    """Optimiser updates."""
    seed: int = 0
    """What all random draws follow from."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    processes: int = 1
    """Processes that share each batch: CPU processes, or one per GPU."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Number format of the networks; the mixed ones pay on GPUs only."""
    rays: int = 256
    """Rays of the first step."""
    max_rays: int = 8192
    """Most rays of a step."""
    samples: int = 1 << 15
    """Samples a step aims at: the number of rays follows. 0 keeps the number of rays."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    preview_every: int = 1000
    """Steps between pictures of a held-out view in preview/."""
    log_every: int = 20
    """Steps between lines in log/."""

    def __post_init__(self) -> None:
        least = {"steps": 1, "processes": 1, "rays": 1, "max_rays": 1, "samples": 0, "seed": 0}
        least |= {"checkpoint_every": 1, "preview_every": 1, "log_every": 1}
        for name, lowest in least.items():
            if (given := getattr(self, name)) < lowest:
                raise clear(f"--fit.{name}", expected=f"at least {lowest}", got=str(given), do="choose a larger one")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW. The learning rate of each part is `rate` times its factor in the method's module."""

    rate: float = 1e-2
    """Learning rate of tables and networks."""
    sharpness_rate: float = 1e-3
    """Learning rate of a surface's sharpness."""
    weight_decay: float = 0.01
    """Decoupled decay; the published runs leave the library's 0.01 on everywhere."""
    warmup_steps: Step = 0
    """Updates over which the rates rise from a hundredth."""
    hold_steps: Step = 0
    """Updates at full rate before an exponential decay begins."""
    final: float = 0.1
    """What is left of the rates at the last step of an exponential decay."""
    cooldown_steps: Step = 0
    """Last updates, over which the rates fall to nothing besides: what was noise between steps is averaged away."""
    stairs: Steps = ()
    """Steps at which the rates are multiplied by `stair` instead."""
    stair: float = 0.33
    """See `stairs`."""

    def schedule(self, steps: int) -> Rate:
        """Factor of the learning rates by update number."""
        if self.cooldown_steps:
            return Product((replace(self, cooldown_steps=0).schedule(steps), self._cooldown(steps)))
        if self.stairs:
            return Stairs(self.stairs, self.stair)
        decay = Exponential(max(1, steps - max(self.warmup_steps, self.hold_steps)), self.final)
        if self.warmup_steps:
            return warmup(self.warmup_steps, decay)
        return hold(self.hold_steps, decay) if self.hold_steps else decay

    def _cooldown(self, steps: int) -> Rate:
        return Ramp(1.0, 0.0, steps, max(0, steps - self.cooldown_steps))


@dataclass(frozen=True)
class HashGridConfig:
    """A multiresolution hash grid."""

    levels: int = 16
    """Number of resolutions."""
    features: int = 2
    """Features per entry."""
    log2_table: int = 19
    """A level holds at most 2^this entries."""
    base: int = 16
    """Coarsest resolution."""
    growth: float = 1.4472692012786865
    """Ratio between neighbouring resolutions."""
    start_level: int | None = None
    """Levels shown at first, where they open one by one; all of them when left out."""
    update_steps: Step = 1000
    """Steps until the next level opens."""


@dataclass(frozen=True)
class MlpConfig:
    """A small network."""

    width: int = 64
    """Neurons of a hidden layer."""
    hidden: int = 1
    """Hidden layers."""


@dataclass(frozen=True)
class OccupancyConfig:
    """The grid that lets rays skip empty space."""

    resolution: int = 128
    """Cells along each axis."""
    threshold: float = 1e-3
    """A cell whose opacity per step stays below this is skipped."""
    decay: float = 0.95
    """What is left of a cell's opacity at each update, before the fresh look; 0 forgets at once."""
    update_every: int = 16
    """Steps between updates."""
    warmup_steps: Step = 256
    """Steps during which every update looks at all cells."""
    fraction: float = 0.25
    """Share of the cells that later updates look at, beside as many occupied ones."""


@dataclass(frozen=True)
class BackgroundConfig:
    """The world beyond the region of interest: a volume in contracted space."""

    grid: HashGridConfig = HashGridConfig()
    """Its hash grid."""
    features: int = 8
    """Channels handed from density to colour."""
    density: MlpConfig = MlpConfig()
    """Density network."""
    color: MlpConfig = MlpConfig(hidden=2)
    """Colour network."""
    samples_per_ray: int = 64
    """Steps from the region to the far plane, growing with distance."""
    near: float = 0.1
    """Where rays start that miss the region, in region radii."""
    far: float = 1e3
    """Where rays end, in region radii."""
    occupancy: OccupancyConfig = OccupancyConfig(threshold=0.01)
    """Its occupancy grid."""
