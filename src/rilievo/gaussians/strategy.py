"""How the number of Gaussians follows what the photographs ask for: one interface for all strategies.

A strategy is a module, so that what it has gathered since the last change lies in the checkpoint and a resumed run
changes what an unbroken one would.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Optimizer

from rilievo.gaussians.rows import Gaussians, RowModule


class Strategy(RowModule, ABC):
    """Watches every step; changes the cloud between steps."""

    @abstractmethod
    def observe(self, screen_grad: Float[Tensor, "n 2"], visible: Bool[Tensor, "n"]) -> None:
        """Take note of one view: the loss's gradient by each mean on screen, in half images, and who was seen."""

    @abstractmethod
    def advance(self, gaussians: Gaussians, optimizer: Optimizer, step: int, generator: torch.Generator) -> None:
        """Change the cloud, where step `step` (the number of updates so far) is one at which it changes.

        `generator` lives on the CPU and belongs to this step alone.
        """
