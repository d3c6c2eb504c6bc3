"""What training asks of a model: to follow the step, and, when it is seen along rays, to keep space known."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class SteppedModel(nn.Module, ABC):
    """A model parts of which follow the training step: levels that open, a surface that sharpens, steps that shrink."""

    @abstractmethod
    def set_step(self, step: int) -> None:
        """Become what the model is at this step; called before every step and after loading."""


class RayModel(SteppedModel):
    """A model with an occupancy grid."""

    @abstractmethod
    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        """Look again at a share of the cells, drawn with the seed."""
