"""What an encoding of points is, and encodings made of encodings.

An encoding γ maps x in [0, 1]³ to features. Two things are asked of it beyond the value:

* what it shows may grow with training, so it can follow the step (NeRF's and Neuralangelo's coarse-to-fine,
  arXiv:2306.03092);
* a normal needs the pullback x, c ↦ cᵀ ∂γ/∂x. An encoding that offers it as an ordinary expression lets a distance
  field compute normals in forward passes only, so that training needs a single backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn


@runtime_checkable
class Encoding(Protocol):
    """A module from points `[points, input_dim]` to features `[points, output_dim]`."""

    @property
    def input_dim(self) -> int: ...

    @property
    def output_dim(self) -> int: ...

    def __call__(self, x: Tensor, /) -> Tensor: ...


@runtime_checkable
class Levelled(Encoding, Protocol):
    """An encoding whose features come level by level, coarse first, `features_per_level` for each."""

    @property
    def n_levels(self) -> int: ...

    @property
    def features_per_level(self) -> int: ...


@runtime_checkable
class SkipsLevels(Protocol):
    """A levelled encoding that gives zeros from `active_levels` on, at no cost."""

    active_levels: int


@runtime_checkable
class FollowsStep(Protocol):
    """Something that changes during training. Where it stands is not in checkpoints: set the step after loading one."""

    def set_step(self, step: int) -> None: ...


@runtime_checkable
class OffersPullback(Protocol):
    """An encoding that gives cᵀ ∂γ/∂x as a differentiable expression, without autograd."""

    def pullback(self, x: Tensor, cotangent: Tensor) -> Tensor: ...


def pullback(
    encoding: Callable[[Tensor], Tensor], x: Float[Tensor, "points in"], cotangent: Float[Tensor, "points out"]
) -> Float[Tensor, "points in"]:
    """cotangentᵀ ∂γ/∂x: the encoding's own expression where it offers one, autograd where not.

    Also right where gradients are switched off; the result is then without history.
    """
    if isinstance(encoding, OffersPullback):
        return encoding.pullback(x, cotangent)
    keep = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        if not (keep and x.requires_grad):
            x = x.clone().detach().requires_grad_()
        cotangent = cotangent if keep else cotangent.clone()
        (gradient,) = torch.autograd.grad(encoding(x), x, cotangent, create_graph=keep)
    return gradient if keep else gradient.detach()


class CompositeEncoding(nn.Module):
    """The point itself beside its encoding: [scale·x + offset, γ(x)]; the default takes [0, 1] to [-1, 1]."""

    def __init__(
        self, encoding: Encoding, *, include_xyz: bool = True, scale: float = 2.0, offset: float = -1.0
    ) -> None:
        super().__init__()
        self.encoding = encoding
        self.include_xyz = include_xyz
        self.scale, self.offset = scale, offset
        self.input_dim = encoding.input_dim
        self.output_dim = encoding.output_dim + (encoding.input_dim if include_xyz else 0)

    def set_step(self, step: int) -> None:
        if isinstance(self.encoding, FollowsStep):
            self.encoding.set_step(step)

    def forward(self, x: Float[Tensor, "points in"]) -> Float[Tensor, "points out"]:
        features = self.encoding(x)
        return torch.cat([x * self.scale + self.offset, features], dim=-1) if self.include_xyz else features

    def pullback(
        self, x: Float[Tensor, "points in"], cotangent: Float[Tensor, "points out"]
    ) -> Float[Tensor, "points in"]:
        if not self.include_xyz:
            return pullback(self.encoding, x, cotangent)
        of_xyz, of_features = cotangent.split([self.input_dim, self.encoding.output_dim], dim=-1)
        return of_xyz * self.scale + pullback(self.encoding, x, of_features)


@dataclass(frozen=True)
class CoarseToFine:
    """How many levels are shown when: `start_level`, then one more every `update_steps` after `start_step`."""

    start_level: int = 4
    start_step: int = 0
    update_steps: int = 1000

    def level(self, step: int, n_levels: int) -> int:
        return min(self.start_level + max(step - self.start_step, 0) // self.update_steps, n_levels)


class ProgressiveLevels(nn.Module):
    """A levelled encoding whose fine levels are zero until their turn comes.

    The level is a function of the step alone, so a resumed run shows what the unbroken one would. Before the first
    `set_step` it is that of step 0; the published implementation hides every level until then, which
    `hidden_before_first_step` repeats.
    """

    def __init__(
        self, encoding: Levelled, schedule: CoarseToFine = CoarseToFine(), *, hidden_before_first_step: bool = False
    ) -> None:
        super().__init__()
        self.encoding = encoding
        self.skips = isinstance(encoding, SkipsLevels)
        self.schedule = schedule
        self.n_levels, self.features_per_level = encoding.n_levels, encoding.features_per_level
        self.input_dim, self.output_dim = encoding.input_dim, encoding.output_dim
        self.mask: Tensor
        self.register_buffer("mask", torch.zeros(self.output_dim), persistent=False)
        self._show(0 if hidden_before_first_step else schedule.level(0, self.n_levels))

    def set_step(self, step: int) -> None:
        self._show(self.schedule.level(step, self.n_levels))

    def forward(self, x: Float[Tensor, "points in"]) -> Float[Tensor, "points out"]:
        return self._hide(self.encoding(x))

    def pullback(
        self, x: Float[Tensor, "points in"], cotangent: Float[Tensor, "points out"]
    ) -> Float[Tensor, "points in"]:
        return pullback(self.encoding, x, self._hide(cotangent))

    def _hide(self, features: Tensor) -> Tensor:
        return features if self.skips else features * self.mask.to(features.dtype)

    def _show(self, level: int) -> None:
        self.level = level
        with torch.no_grad():
            self.mask.copy_(torch.arange(self.output_dim) < level * self.features_per_level)
        if isinstance(self.encoding, SkipsLevels):
            self.encoding.active_levels = level
