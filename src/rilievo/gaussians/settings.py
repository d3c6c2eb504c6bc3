"""Settings of how a cloud grows and how fast it learns, as frozen dataclasses. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rilievo.errors import clear
from rilievo.stretch import Step


@dataclass(frozen=True)
class DensifyConfig:
    """Clone, split, prune and reset (Kerbl et al. 2023, section 5.2)."""

    start: Step = 500
    """First step at which Gaussians may be cloned and split."""
    end: Step = 15_000
    """Step from which their number is fixed."""
    every: int = 100
    """Steps between changes."""
    grad_threshold: float = 2e-4
    """Mean gradient of the loss by the position on screen (in half images) that asks for more Gaussians."""
    dense: float = 0.01
    """Gaussians up to this share of the scene's extent are cloned, larger ones split."""
    min_opacity: float = 0.005
    """Fainter Gaussians are removed."""
    max_scale: float | None = 0.1
    """Gaussians larger than this share of the extent are removed once opacities have been reset; never if left out."""
    reset_every: Step = 3000
    """Steps between resets of all opacities to at most `reset_opacity`."""
    reset_opacity: float = 0.01
    """See `reset_every`."""
    max_gaussians: int = 1_000_000
    """No cloning or splitting beyond this number."""

    def __post_init__(self) -> None:
        _at_least(
            "densify", {"every": self.every, "reset_every": self.reset_every, "max_gaussians": self.max_gaussians}
        )


@dataclass(frozen=True)
class RelocationConfig:
    """Faint Gaussians move to where opaque ones are, as samples of a Markov chain (Kheradmand et al. 2024,
    arXiv:2404.09591).
    """

    start: Step = 500
    """First step at which Gaussians move."""
    end: Step = 25_000
    """Step from which they only learn."""
    every: int = 100
    """Steps between moves."""
    min_opacity: float = 0.005
    """Fainter Gaussians move."""
    growth: float = 1.05
    """Factor by which their number grows at each move."""
    max_gaussians: int = 1_000_000
    """Where it stops growing."""
    noise: float = 5e5
    """Random walk of faint Gaussians: their covariance times this times the learning rate of positions."""

    def __post_init__(self) -> None:
        _at_least("relocation", {"every": self.every, "max_gaussians": self.max_gaussians})


@dataclass(frozen=True)
class RatesConfig:
    """Learning rates of Adam, those of the published code."""

    means: float = 1.6e-4
    """Of positions at the first step, in extents of the scene."""
    means_final: float = 1.6e-6
    """At the last step."""
    sh_dc: float = 2.5e-3
    """Of the colour."""
    sh_rest: float = 1.25e-4
    """Of how colour changes with direction."""
    opacity_logits: float = 0.05
    log_scales: float = 5e-3
    quats: float = 1e-3
    final: float = 1.0
    """What is left at the last step of the rates other than that of positions; the published ones stay."""


@dataclass(frozen=True)
class LogLinear:
    """A rate that falls along a straight line of its logarithm, from `initial` to `final` in `steps`, and stays there.

    With a delay it starts lower and comes up along a quarter of a sine in `delay_steps`: multiplied by
    `delay_factor` + (1 - `delay_factor`) sin(π/2 · step / delay_steps).
    """

    initial: float
    final: float
    steps: int
    delay_steps: int = 0
    delay_factor: float = 1.0

    def __call__(self, step: int) -> float:
        if step < 0 or self.initial == self.final == 0:
            return 0.0
        passed = min(step / self.steps, 1.0)
        rate = math.exp((1 - passed) * math.log(self.initial) + passed * math.log(self.final))
        if not self.delay_steps:
            return rate
        risen = math.sin(math.pi / 2 * min(step / self.delay_steps, 1.0))
        return rate * (self.delay_factor + (1 - self.delay_factor) * risen)


def _at_least(what: str, given: dict[str, int]) -> None:
    for name, value in given.items():
        if value < 1:
            raise clear(f"{what}: {name}", expected="at least 1", got=str(value), do="choose a larger one")
