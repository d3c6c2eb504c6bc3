"""An unsigned distance field with its gradient (NeuralUDF, arXiv:2211.14173, section 3.1).

A network gives a number f of either sign, and the distance is u = |f|, or u = f², which has a gradient on the surface
too but is no distance near it. A surface that ends is where f has no zero though its neighbourhood has; f itself may
change sign behind it as it likes. ∇u = sgn(f) ∇f or 2 f ∇f, and ∇f is the network's pullback, so that normals are
trained by a single backward.

Points are handed to the encoding as `scale`·x + `offset`: scale 1 / 2r and offset 1/2 bring the box [-r, r]³ to the
unit cube of hash grids; the published network takes x itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .encoding import Encoding, FollowsStep, pullback
from .mlp import MLP
from .skip_mlp import SkipMLP


class UdfKind(StrEnum):
    """How the network's number becomes a distance."""

    ABS = "abs"
    SQUARE = "square"
    SIGNED = "signed"
    """Not at all: for comparison with a signed distance."""


@dataclass(frozen=True)
class UdfSample:
    """What an unsigned distance field says about points."""

    udf: Float[Tensor, "points"]
    """≥ 0, in world units once trained (of SQUARE, the root is)."""
    feature: Float[Tensor, "points features"]
    """What the network gave beside the distance."""
    gradient: Float[Tensor, "points 3"]
    """∇u by world coordinates, not normalised."""
    raw: Float[Tensor, "points"]
    """f."""


class UdfField(nn.Module):
    """World points → unsigned distance, gradient and features."""

    def __init__(
        self,
        encoding: Encoding,
        network: MLP | SkipMLP,
        *,
        kind: UdfKind = UdfKind.ABS,
        scale: float = 1.0,
        offset: float = 0.0,
        distance_scale: float = 1.0,
    ) -> None:
        """`distance_scale` multiplies u: the published network with inputs scaled by s divides its distance by s."""
        super().__init__()
        self.encoding, self.network, self.kind = encoding, network, UdfKind(kind)
        self.scale, self.offset, self.distance_scale = scale, offset, distance_scale

    @property
    def feature_dim(self) -> int:
        return self.network.output_dim - 1

    def set_step(self, step: int) -> None:
        if isinstance(self.encoding, FollowsStep):
            self.encoding.set_step(step)

    def udf(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """The distance alone."""
        return self._distance(self.raw(points))

    def raw(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """f alone, of either sign."""
        return self.network(self.encoding(self._input(points)))[:, 0]

    def forward(self, points: Float[Tensor, "points 3"]) -> UdfSample:
        """Distance, gradient and features, with history where gradients are on."""
        x = self._input(points)
        output, by_encoding = self.network.value_and_pullback(self.encoding(x))
        raw = output[:, 0]
        gradient = self._slope(raw)[:, None] * pullback(self.encoding, x, by_encoding) * self.scale
        return UdfSample(self._distance(raw), output[:, 1:], gradient, raw)

    def distance(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """What grows by one per unit of length near the surface, for meshing: u, or √u of SQUARE."""
        udf = self.udf(points)
        return udf.sqrt() if self.kind is UdfKind.SQUARE else udf

    def _input(self, points: Tensor) -> Tensor:
        return points * self.scale + self.offset

    def _distance(self, raw: Tensor) -> Tensor:
        if self.kind is UdfKind.ABS:
            bent = raw.abs()
        else:
            bent = raw.square() if self.kind is UdfKind.SQUARE else raw
        return bent * self.distance_scale

    def _slope(self, raw: Tensor) -> Tensor:
        if self.kind is UdfKind.ABS:
            slope = raw.sign()
        else:
            slope = 2 * raw if self.kind is UdfKind.SQUARE else torch.ones_like(raw)
        return slope * self.distance_scale


class Sharpness(nn.Module):
    """The widths a field of this kind is rendered with, learned as logarithms a tenth as large: inv_s, β and γ.

    β is at most 1 / `least_width`. `inv_s` is the sharpness of opacity, β and γ those of visibility (`udf_alpha`).
    """

    def __init__(self, inv_s: float = 0.3, beta: float = 0.5, gamma: float = 0.3, *, least_width: float = 5e-5) -> None:
        """Initial values of the raw parameters; γ stays as it is, as published."""
        super().__init__()
        self.raw_inv_s, self.raw_beta = nn.Parameter(torch.tensor(inv_s)), nn.Parameter(torch.tensor(beta))
        self.raw_gamma = nn.Parameter(torch.tensor(gamma), requires_grad=False)
        self.least_width = least_width

    @property
    def inv_s(self) -> Float[Tensor, ""]:
        return (10 * self.raw_inv_s).exp().clamp(1e-6, 1e6)

    @property
    def beta(self) -> Float[Tensor, ""]:
        return (10 * self.raw_beta).exp().clamp(1e-6, 1 / self.least_width)

    @property
    def gamma(self) -> Float[Tensor, ""]:
        return (10 * self.raw_gamma).exp().clamp(1e-6, 1e6)
