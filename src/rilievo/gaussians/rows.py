"""Modules whose tensors have a row per Gaussian, and rows that come and go during training.

A change of rows is described once, as the new cloud, the row each of its Gaussians came from, and which of them start
with an optimiser that remembers nothing; `rearrange` carries it out on parameters and Adam's moments together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn
from torch.optim import Optimizer

from rilievo.gaussians.cloud import GaussianCloud


class RowModule(nn.Module):
    """A module that takes on as many rows as a checkpoint has."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name, held in [*self._parameters.items(), *self._buffers.items()]:
            stored = state_dict.get(prefix + name)
            if held is not None and stored is not None and stored.shape[1:] == held.shape[1:]:
                held.data = held.data.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Gaussians(RowModule):
    """A cloud whose numbers are trained."""

    def __init__(self, cloud: GaussianCloud) -> None:
        super().__init__()
        for name, values in cloud.items():
            self.register_parameter(name, nn.Parameter(values.clone()))

    def __len__(self) -> int:
        return len(self.cloud)

    @property
    def cloud(self) -> GaussianCloud:
        """The parameters, by name."""
        return GaussianCloud(**dict(self.named_parameters()))


@dataclass(frozen=True)
class Rearrangement:
    """m Gaussians that take the place of the n there were."""

    cloud: GaussianCloud
    source: Int64[Tensor, "m"]
    """The row each came from."""
    fresh: Bool[Tensor, "m"]
    """Whose optimiser state starts at zero instead of being taken along."""

    def keep(self, kept: Bool[Tensor, "m"]) -> Rearrangement:
        """Some of them alone."""
        return Rearrangement(self.cloud[kept], self.source[kept], self.fresh[kept])


@torch.no_grad()
def rearrange(gaussians: Gaussians, optimizer: Optimizer, new: Rearrangement) -> None:
    """Put the new rows in place, with the moments that belong to them."""
    old_count = len(gaussians)
    for name, values in new.cloud.items():
        parameter = gaussians.get_parameter(name)
        parameter.data, parameter.grad = values.detach().clone(), None
        state = optimizer.state.get(parameter, {})
        for key, moment in state.items():
            if moment.shape[:1] == (old_count,):
                kept = moment[new.source]
                kept[new.fresh] = 0
                state[key] = kept


@torch.no_grad()
def forget(parameter: nn.Parameter, optimizer: Optimizer) -> None:
    """Zero Adam's moments of a parameter; its count of updates goes on."""
    for moment in optimizer.state.get(parameter, {}).values():
        if moment.shape == parameter.shape:
            moment.zero_()
