"""What changes with the step: weights of losses, learning rates, the number of rays. No torch here, so configs import
at once.

A schedule is a frozen dataclass that is called with the step. `Schedule` is for numbers that mean themselves; the
others (`Rate`) give a factor of the base learning rate, 1 being all of it, for optimiser update number `step`,
counted from 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rilievo.errors import clear
from rilievo.stretch import Step


@dataclass(frozen=True)
class Constant:
    """The same number at every step."""

    value: float = 1.0

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True)
class Ramp:
    """A straight line from `start` at `start_step` to `end` at `end_step`, level before and after."""

    start: float
    end: float
    end_step: Step
    start_step: Step = 0

    def __post_init__(self) -> None:
        if self.end_step <= self.start_step:
            raise clear(
                "ramp",
                expected=f"an end_step after start_step {self.start_step}",
                got=str(self.end_step),
                do="give the ramp some steps, or use a constant",
            )

    def __call__(self, step: int) -> float:
        passed = (step - self.start_step) / (self.end_step - self.start_step)
        return self.start + (self.end - self.start) * max(min(1.0, passed), 0.0)


Schedule = Constant | Ramp


@dataclass(frozen=True)
class Exponential:
    """factor = end^{step / steps}: multiplied by `end` every `steps` updates, without stopping there."""

    steps: int
    end: float = 0.1

    def __call__(self, step: int) -> float:
        return self.end ** (step / self.steps)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 down to `end` over `steps` updates, `end` afterwards (Loshchilov & Hutter 2017,
    arXiv:1608.03983).
    """

    steps: int
    end: float = 0.0

    def __call__(self, step: int) -> float:
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * min(step / self.steps, 1.0))) / 2


@dataclass(frozen=True)
class Stairs:
    """Multiplied by `gamma` at each of the `milestones`."""

    milestones: tuple[int, ...]
    gamma: float = 0.33

    def __call__(self, step: int) -> float:
        return self.gamma ** sum(step >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class Sequence:
    """One rate after another: `parts[i + 1]` takes over at `milestones[i]` and counts its own steps from there."""

    parts: tuple[Rate, ...]
    milestones: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.milestones) + 1 or list(self.milestones) != sorted(self.milestones):
            raise clear(
                "sequence",
                expected="one milestone between every two parts, in rising order",
                got=f"{len(self.parts)} parts and milestones {list(self.milestones)}",
                do="list the step at which each part after the first begins",
            )

    def __call__(self, step: int) -> float:
        begun = sum(step >= milestone for milestone in self.milestones)
        begin = self.milestones[begun - 1] if begun else 0
        return self.parts[begun](step - begin)


@dataclass(frozen=True)
class Product:
    """Rates at the same time: their factors are multiplied."""

    parts: tuple[Rate, ...]

    def __call__(self, step: int) -> float:
        return math.prod(part(step) for part in self.parts)


Rate = Constant | Ramp | Exponential | Cosine | Stairs | Sequence | Product


def warmup(steps: int, then: Rate, start: float = 0.01) -> Sequence:
    """From `start` of the learning rate to all of it in `steps` updates, then another rate from its own beginning."""
    return Sequence((Ramp(start, 1.0, steps), then), (steps,))


def hold(steps: int, then: Rate) -> Sequence:
    """All of the learning rate for `steps` updates, then another rate from its own beginning."""
    return Sequence((Constant(1.0), then), (steps,))


def next_ray_count(rays: int, samples: int, target_samples: int, max_rays: int) -> int:
    """How many rays to shoot next, so that about `target_samples` samples come back: a tenth of the way there, at
    most `max_rays`.

    `samples` is what `rays` rays gave this time, background included. At least one ray, even after a step without
    samples.
    """
    wanted = int(rays * (target_samples / max(samples, 1)))
    return max(1, min(int(rays * 0.9 + wanted * 0.1), max_rays))
