"""Features of time from a multiplicative network of Gabor filters (Fathony et al. 2021, "Multiplicative filter
networks", ICLR).

A filter is a wave under a bell: g(t) = sin(w t + b) exp(-γ/2 (t - μ)²). The network multiplies instead of composing
nonlinearities: z₀ = g₀(t), z_k = g_k(t) ⊙ (W_k z_{k-1} + c_k), features = W z_L + c. At the start γ is drawn from a
Gamma distribution and w grows with √γ, so that narrow bells hold fast waves: some features see the whole clip, others
single frames.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .mlp import PlainLinear


class GaborFilter(nn.Module):
    """`width` waves under bells, of one variable."""

    def __init__(self, width: int, scale: float, alpha: float, generator: torch.Generator | None = None) -> None:
        super().__init__()
        gamma = torch._standard_gamma(torch.full((width,), alpha), generator=generator)
        frequency = torch.empty(width).uniform_(-1, 1, generator=generator) * scale * gamma.sqrt()
        self.mu = nn.Parameter(torch.empty(width).uniform_(-1, 1, generator=generator))
        self.gamma = nn.Parameter(gamma)
        self.frequency = nn.Parameter(frequency)
        self.phase = nn.Parameter(torch.empty(width).uniform_(-math.pi, math.pi, generator=generator))

    def forward(self, t: Float[Tensor, "b"]) -> Float[Tensor, "b width"]:
        t = t[:, None]
        squared = t**2 + self.mu**2 - 2 * t * self.mu  # written out as published: Adam amplifies its rounding
        return torch.sin(t * self.frequency + self.phase) * torch.exp(-0.5 * squared * self.gamma)


class GaborNet(nn.Module):
    """Features of time: `depth` + 1 filters of `width`, then a linear layer to `output_dim`.

    `scale` and `alpha` belong to the whole network, as in the paper: each filter gets scale/√(depth+1) and
    alpha/(depth+1).
    """

    def __init__(
        self,
        output_dim: int = 128,
        *,
        width: int = 256,
        depth: int = 2,
        scale: float = 256.0,
        alpha: float = 4.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        filters = depth + 1
        self.output_dim = output_dim
        self.filters = nn.ModuleList(
            GaborFilter(width, scale / math.sqrt(filters), alpha / filters, generator) for _ in range(filters)
        )
        self.linears = nn.ModuleList(
            uniform_linear(width, width, 1 / math.sqrt(width), generator) for _ in range(depth)
        )
        self.output = uniform_linear(width, output_dim, 1 / math.sqrt(width), generator)

    def forward(self, times: Float[Tensor, "b"]) -> Float[Tensor, "b features"]:
        first, *others = self.filters
        z = first(times)
        for gabor, linear in zip(others, self.linears):
            z = gabor(times) * F.linear(z, linear.weight, linear.bias)  # type: ignore[arg-type]  # from a ModuleList
        return F.linear(z, self.output.weight, self.output.bias)


def uniform_linear(fan_in: int, fan_out: int, bound: float, generator: torch.Generator | None = None) -> PlainLinear:
    """A linear layer with weights drawn evenly from ±bound, biases from ±1/√fan_in."""
    weight = torch.empty(fan_out, fan_in).uniform_(-bound, bound, generator=generator)
    edge = 1 / math.sqrt(fan_in)
    return PlainLinear(weight, torch.empty(fan_out).uniform_(-edge, edge, generator=generator))
