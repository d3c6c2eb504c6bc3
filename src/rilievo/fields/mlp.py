"""Multilayer perceptrons, and the gradient of one output by the inputs as an ordinary expression.

Two kinds, as published with NeuS (arXiv:2106.10689):

* geometry: Softplus(β = 100), started so that the first output is about |x| - radius (geometric initialisation,
  Atzmon & Lipman 2020, arXiv:1911.10414), usually weight-normalised, W = g v / |v|;
* everything else: ReLU, Kaiming uniform.

Symbols: z_k = W_k a_{k-1} + b_k, a_k = σ(z_k).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .activation import activation, identity

SOFTPLUS_BETA = 100.0
"""Nearly a ReLU, but with a second derivative, which a loss on normals needs."""


class NormedLinear(nn.Module):
    """A linear layer with the length and the direction of each row learned apart: W = g v / |v|."""

    def __init__(self, weight: Float[Tensor, "out in"], bias: Float[Tensor, "out"]) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(weight.norm(dim=1, keepdim=True))
        self.weight_v = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        # The kernel behind torch's own weight_norm: a Laplacian divides by eps², so the last bit of a weight is seen.
        return torch._weight_norm(self.weight_v, self.weight_g, 0)


class PlainLinear(nn.Module):
    """A linear layer given by its weight and bias."""

    def __init__(self, weight: Float[Tensor, "out in"], bias: Float[Tensor, "out"]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)


class MLP(nn.Module):
    """A perceptron with `hidden_layers` layers of `width`.

    `sphere_radius` asks for the geometric initialisation (the first three inputs must be the point) and Softplus;
    None for ReLU. `output_activation` is a name known to `activation`. The initial weights are drawn from
    `generator`.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        width: int = 64,
        hidden_layers: int = 1,
        sphere_radius: float | None = None,
        weight_norm: bool = False,
        output_activation: str = "none",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.input_dim, self.output_dim = input_dim, output_dim
        self.smooth = sphere_radius is not None
        self.output_activation = activation(output_activation)
        sizes = [input_dim, *[width] * hidden_layers, output_dim]
        make = NormedLinear if weight_norm else PlainLinear
        last = len(sizes) - 2
        layers = []
        for k, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            if sphere_radius is None:
                weight, bias = _kaiming(fan_in, fan_out, generator)
            elif k == last:
                weight, bias = _sphere_last(fan_in, fan_out, sphere_radius, generator)
            else:
                weight, bias = _sphere_hidden(fan_in, fan_out, 3 if k == 0 else fan_in, generator)
            layers.append(make(weight, bias))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "points in"]) -> Float[Tensor, "points out"]:
        *hidden, last = self._affine()
        for weight, bias in hidden:
            x = self._sigma(F.linear(x, weight, bias))
        return self.output_activation(F.linear(x, *last))

    def value_and_pullback(
        self, x: Float[Tensor, "points in"], output: int = 0
    ) -> tuple[Float[Tensor, "points out"], Float[Tensor, "points in"]]:
        """The outputs, and the gradient of one of them by the inputs: W₁ᵀ σ'(z₁) ⊙ W₂ᵀ σ'(z₂) ⊙ … e_output.

        Both are plain expressions of weights and inputs, so a loss on the gradient is trained by one ordinary
        backward.
        """
        assert self.output_activation is identity, "the gradient is written for a linear output"
        *hidden, (last_weight, last_bias) = self._affine()
        slopes = []
        for weight, bias in hidden:
            z = F.linear(x, weight, bias)
            x = self._sigma(z)
            slopes.append(self._sigma_slope(z))
        gradient = last_weight[output].expand(len(x), -1)
        for (weight, _), slope in zip(reversed(hidden), reversed(slopes)):
            gradient = (gradient * slope) @ weight
        return F.linear(x, last_weight, last_bias), gradient

    def _affine(self) -> list[tuple[Tensor, Tensor]]:
        return [(layer.weight, layer.bias) for layer in self.layers]  # type: ignore[misc]

    def _sigma(self, z: Tensor) -> Tensor:
        return F.softplus(z, beta=SOFTPLUS_BETA) if self.smooth else F.relu(z)

    def _sigma_slope(self, z: Tensor) -> Tensor:
        return torch.sigmoid(SOFTPLUS_BETA * z) if self.smooth else (z > 0).to(z.dtype)


def _kaiming(fan_in: int, fan_out: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    bound = math.sqrt(6 / fan_in)
    return torch.empty(fan_out, fan_in).uniform_(-bound, bound, generator=generator), torch.zeros(fan_out)


def _sphere_hidden(fan_in: int, fan_out: int, used: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Only the first `used` inputs speak at first: in the first layer the point, not yet its encoding."""
    weight = torch.zeros(fan_out, fan_in)
    weight[:, :used].normal_(0.0, math.sqrt(2 / fan_out), generator=generator)
    return weight, torch.zeros(fan_out)


def _sphere_last(fan_in: int, fan_out: int, radius: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    weight = torch.empty(fan_out, fan_in).normal_(math.sqrt(math.pi / fan_in), 1e-4, generator=generator)
    return weight, torch.full((fan_out,), -float(radius))
