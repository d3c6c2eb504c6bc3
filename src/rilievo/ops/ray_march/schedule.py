"""Step lengths of the published marchers, from the number of samples that a ray should take."""

from dataclasses import dataclass

SQRT_3 = 1.732  # as published, not 3 ** 0.5: golden numbers follow it


def uniform_step(radius: float, samples: int) -> float:
    """The step that crosses the box [-radius, radius]³ along its diagonal in `samples` steps."""
    return SQRT_3 * 2 * radius / samples


@dataclass(frozen=True)
class BackgroundMarch:
    """How rays walk on behind the scene: steps grow with distance, so that few of them reach very far."""

    near: float
    """Where rays start that never enter the scene's box; the others start where they leave it."""
    far: float
    step: float
    """The first, smallest step."""
    cone_angle: float
    """Growth: step / t."""


def background_march(samples: int, near: float = 0.1, far: float = 1e3, step: float = 0.01) -> BackgroundMarch:
    """The march whose `samples` steps, each 1 + cone_angle times as far as the last, lead from 1 to `far`."""
    return BackgroundMarch(near, far, step, cone_angle=far ** (1 / samples) - 1)
