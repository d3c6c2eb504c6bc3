"""Learning rates over the course of a stage: `progress` runs from 0 to 1."""

from __future__ import annotations

import math
from enum import StrEnum


class Decay(StrEnum):
    """How the rate falls."""

    COSINE = "cosine"
    LINEAR = "linear"


def rate(decay: Decay, progress: float, start: float, end: float = 0.0) -> float:
    """The learning rate at `progress`, from `start` to `end`."""
    if decay is Decay.LINEAR:
        return (1 - progress) * start + progress * end
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
