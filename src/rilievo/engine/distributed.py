"""Means over all processes, so that a batch gives one gradient however it was divided."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch import distributed as dist


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def total(value: Tensor) -> Tensor:
    """The sum of a number over all processes; no gradient."""
    value = value.detach().clone()
    if _processes() > 1:
        dist.all_reduce(value)
    return value


def mean(values: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """The mean over the values of all processes together, 0 where there are none.

    Each process returns its share of it times the number of processes: averaging gradients, as data-parallel training
    does, then gives exactly the gradient of the mean.
    """
    count = total(torch.tensor(float(values.numel()), device=values.device))
    return values.sum() * _processes() / count.clamp_min(1)


def average(share: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The mean that `mean` has divided among the processes, known to all of them; no gradient."""
    return total(share) / _processes()
