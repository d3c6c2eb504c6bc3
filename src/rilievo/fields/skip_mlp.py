"""The distance network of the papers: eight layers of 256 with the input fed in again half way (DeepSDF, Park et al.
2019, arXiv:1901.05103), weight-normalised, Softplus or ReLU, started as a sphere.

It is `MLP`'s geometry network (same initialisation, same σ) but for the skip: the layer numbers in `skip_in` receive
[a, input] / √2, and the layer before each is narrower by the width of the input.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .mlp import SOFTPLUS_BETA, NormedLinear

HALF = 1 / math.sqrt(2)


class SkipMLP(nn.Module):
    """Inputs whose first three numbers are the point → `output_dim` numbers, the first about |x| - sphere_radius."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        width: int = 256,
        hidden_layers: int = 8,
        skip_in: tuple[int, ...] = (4,),
        sphere_radius: float = 0.5,
        activation: Literal["softplus", "relu"] = "softplus",
        generator: torch.Generator | None = None,
    ) -> None:
        """`activation` "relu" is that of GaussianUDF (arXiv:2503.19458), whose field has flat pieces and no bend."""
        super().__init__()
        self.sharp = activation == "relu"
        self.input_dim, self.output_dim, self.skip_in = input_dim, output_dim, skip_in
        sizes = [input_dim, *[width] * hidden_layers, output_dim]
        last = len(sizes) - 2
        layers = []
        for k, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            out = fan_out - input_dim if k + 1 in skip_in else fan_out
            bias = torch.full((out,), -float(sphere_radius) if k == last else 0.0)
            if k == last:
                weight = torch.empty(out, fan_in).normal_(math.sqrt(math.pi / fan_in), 1e-4, generator=generator)
            else:
                weight = torch.empty(out, fan_in).normal_(0.0, math.sqrt(2 / out), generator=generator)
                if k == 0:
                    weight[:, 3:] = 0  # the point speaks alone at first, its encoding later
                elif k in skip_in:
                    weight[:, fan_in - input_dim + 3 :] = 0
            layers.append(NormedLinear(weight, bias))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "points in"]) -> Float[Tensor, "points out"]:
        a = x
        for k, (weight, bias) in enumerate(self._affine()):
            a = F.linear(self._joined(k, a, x), weight, bias)
            if k < len(self.layers) - 1:
                a = self._bent(a)
        return a

    def value_and_pullback(
        self, x: Float[Tensor, "points in"], output: int = 0
    ) -> tuple[Float[Tensor, "points out"], Float[Tensor, "points in"]]:
        """The outputs, and the gradient of one of them by the inputs as an ordinary expression (see
        `MLP.value_and_pullback`)."""
        layers, slopes, a = self._affine(), [], x
        weights = [weight for weight, _ in layers]
        for k, (weight, bias) in enumerate(layers):
            z = F.linear(self._joined(k, a, x), weight, bias)
            if k < len(self.layers) - 1:
                slopes.append((z > 0).to(z) if self.sharp else torch.sigmoid(SOFTPLUS_BETA * z))
                a = self._bent(z)
        gradient, by_skips = weights[-1][output].expand(len(x), -1), torch.zeros_like(x)
        for k in range(len(weights) - 1, -1, -1):
            if k < len(weights) - 1:
                gradient = (gradient * slopes[k]) @ weights[k]
            if k in self.skip_in:
                gradient, skipped = (gradient * HALF).split([gradient.shape[1] - self.input_dim, self.input_dim], -1)
                by_skips = by_skips + skipped
        return z, gradient + by_skips

    def _bent(self, z: Tensor) -> Tensor:
        return z.relu() if self.sharp else F.softplus(z, beta=SOFTPLUS_BETA)

    def _affine(self) -> list[tuple[Tensor, Tensor]]:
        return [(layer.weight, layer.bias) for layer in self.layers]  # type: ignore[misc]  # modules have any attribute

    def _joined(self, k: int, a: Tensor, x: Tensor) -> Tensor:
        return torch.cat([a, x], dim=-1) * HALF if k in self.skip_in else a
