"""An affine coupling layer of space under time: one coordinate moves, steered by the two that stay (Dinh et al. 2017,
RealNVP, arXiv:1605.08803; in this form CaDeX, Lei & Daniilidis 2022, and MoDGS).

With (u, v) the coordinates kept, w the one that moves and c the code of a time, a network gives (s, τ) = f(u, v, c):

    to canonical:  w ← (w - τ) e^{-s}        to a time:  w ← w e^{s} + τ

Each undoes the other whatever f is. s is clamped to ±8, where the published layers clamp it.

f encodes (u, v) (raw, then per coordinate five sines and five cosines at π 2^k), projects them, and joins the code. All
points of a batch row share one time, so the code's part of the first layer is a bias, computed once per time instead of
once per point: the same numbers for two thirds of that layer's work and none of the memory. f is a function of the
plane once the time is fixed; with `lattice` it is tabulated there (`fields.lattice`), which changes the model class a
little and makes a step's cost nearly independent of the number of points.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .gabor import uniform_linear
from .lattice import tabulated
from .mlp import PlainLinear

LOG_SCALE_LIMIT = 8.0
SLOPE = 0.01
"""Of the LeakyReLU."""


def octaves(x: Float[Tensor, "*n d"], count: int) -> Float[Tensor, "*n d_times_2_count"]:
    """Per coordinate the sines, then the cosines, at π 2^k for k < count."""
    phase = x[..., None] * (math.pi * 2.0 ** torch.arange(count, dtype=x.dtype, device=x.device))
    return torch.cat((phase.sin(), phase.cos()), dim=-1).flatten(-2)


class LeakyMLP(nn.Module):
    """Linear layers with LeakyReLU between them, initialised as torch does."""

    def __init__(self, sizes: list[int], generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(uniform_linear(a, b, 1 / math.sqrt(a), generator) for a, b in pairwise(sizes))

    def forward(self, x: Float[Tensor, "*n in"]) -> Float[Tensor, "*n out"]:
        return after_first(self, linear(self.layers[0], x))  # type: ignore[arg-type]  # from a ModuleList


class CouplingLayer(nn.Module):
    """Moves the coordinate `moved` of points, by the other two and a code."""

    def __init__(
        self,
        moved: int,
        *,
        code_dim: int = 128,
        projection: int = 256,
        hidden: tuple[int, ...] = (256, 256, 256),
        frequencies: int = 5,
        lattice: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.moved, self.kept = moved, [axis for axis in range(3) if axis != moved]
        self.code_dim, self.frequencies, self.lattice = code_dim, frequencies, lattice
        self.code = LeakyMLP([code_dim, code_dim, code_dim], generator)
        encoded = 2 + 4 * frequencies
        self.projection = uniform_linear(encoded, projection, 1 / math.sqrt(encoded), generator)
        self.steering = LeakyMLP([code_dim + projection, *hidden, 2], generator)

    def to_canonical(self, x: Float[Tensor, "b n 3"], features: Float[Tensor, "b features"]) -> Float[Tensor, "b n 3"]:
        s, tau = self._steer(x, features)
        return self._with_moved(x, (x[..., self.moved] - tau) * torch.exp(-s))

    def to_time(self, x: Float[Tensor, "b n 3"], features: Float[Tensor, "b features"]) -> Float[Tensor, "b n 3"]:
        s, tau = self._steer(x, features)
        return self._with_moved(x, x[..., self.moved] * torch.exp(s) + tau)

    def _steer(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        kept, codes = x[..., self.kept], self.code(features)
        if self.lattice is None:
            out = self._network(kept, codes[:, None])
        else:
            rows = [tabulated(partial(self._network, code=code), row, self.lattice) for row, code in zip(kept, codes)]
            out = torch.stack(rows)
        s, tau = out.unbind(-1)
        return s.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT), tau

    def _network(self, at: Float[Tensor, "*n 2"], code: Float[Tensor, "*_n code"]) -> Float[Tensor, "*n 2"]:
        """(s, τ) at places of the plane; a code counts for all places that it is broadcast to."""
        first = self.steering.layers[0]
        weight, bias = first.weight, first.bias
        encoded = torch.cat((at, octaves(at, self.frequencies)), dim=-1)
        projected = F.leaky_relu_(linear(self.projection, encoded), SLOPE)
        shared = F.linear(code, weight[:, : self.code_dim], bias)  # type: ignore[arg-type, index]  # from a ModuleList
        own = F.linear(projected, weight[:, self.code_dim :])  # type: ignore[index]  # from a ModuleList
        return after_first(self.steering, own.add_(shared))

    def _with_moved(self, x: Tensor, moved: Tensor) -> Tensor:
        columns = list(x.unbind(-1))
        columns[self.moved] = moved
        return torch.stack(columns, dim=-1)


def linear(layer: PlainLinear, x: Float[Tensor, "*n in"]) -> Float[Tensor, "*n out"]:
    return F.linear(x, layer.weight, layer.bias)


def after_first(mlp: LeakyMLP, z: Float[Tensor, "*n hidden"]) -> Float[Tensor, "*n out"]:
    """The rest of a network, from what its first linear layer gave; `z` is overwritten.

    Activations replace what they act on: the sign, which is all their gradient needs, survives.
    """
    for layer in mlp.layers[1:]:
        z = linear(layer, F.leaky_relu_(z, SLOPE))  # type: ignore[arg-type]  # a ModuleList does not say what it holds
    return z
