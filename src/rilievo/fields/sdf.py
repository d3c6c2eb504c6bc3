"""A signed distance field with its normal: NeuS (arXiv:2106.10689), Neuralangelo (arXiv:2306.03092, sections 3.2 and
3.3).

f(x) = network(γ((x + r) / 2r))₀ in a box of half side r, positive outside the surface. ∇f is found in one of two
ways:

* analytic: the network's pullback, then the encoding's. Both are expressions, so nothing is differentiated twice;
* finite differences with step ε: six more evaluations, f(x ± ε e_i). A large ε smooths what hash cells smaller than
  it would tear, and for a progressive grid ε is the side of the finest cell shown so far. The same six values give
  the Laplacian.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.geometry.box import Box
from rilievo.geometry.contraction import contract_box

from .activation import activation
from .encoding import CoarseToFine, Encoding, FollowsStep, pullback
from .mlp import MLP


class GradientKind(StrEnum):
    """How ∇f is computed."""

    ANALYTIC = "analytic"
    FINITE_DIFFERENCE = "finite_difference"


@dataclass(frozen=True)
class SdfSample:
    """What a distance field says about points."""

    sdf: Float[Tensor, "points"]
    """Positive outside, in world units once trained."""
    feature: Float[Tensor, "points features"]
    """Everything the network gave; channel 0 is the distance before activation and bias."""
    gradient: Float[Tensor, "points 3"] | None = None
    """∇f by world coordinates, not normalised; None where it was not asked for."""
    laplacian: Float[Tensor, "points"] | None = None
    """Trace of the Hessian by finite differences; None where it was not asked for."""


@dataclass(frozen=True)
class FinestCell:
    """ε = 2r / (base · per_level_scale^{level-1}): the side of the finest hash cell that is shown at a step."""

    base_resolution: int
    per_level_scale: float
    n_levels: int
    levels: CoarseToFine = field(default_factory=CoarseToFine)

    def at(self, step: int, radius: float) -> float:
        level = self.levels.level(step, self.n_levels)
        return 2 * radius / (self.base_resolution * self.per_level_scale ** (level - 1))


class SdfField(nn.Module):
    """Points in [-radius, radius]³ → signed distance, gradient and features.

    `eps` is the finite-difference step in world units, or the cell it follows. `sdf_activation` (a name) is applied
    to the distance plus `sdf_bias`, everywhere alike.
    """

    def __init__(
        self,
        encoding: Encoding,
        network: MLP,
        *,
        radius: float = 1.0,
        gradient: GradientKind = GradientKind.ANALYTIC,
        eps: float | FinestCell = 1e-3,
        sdf_activation: str = "none",
        sdf_bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoding, self.network = encoding, network
        self.radius = radius
        self.gradient_kind = GradientKind(gradient)
        self._eps = eps
        self.eps = self._eps_at(0)
        self._bent = sdf_activation != "none"
        self._activation, self._bias = activation(sdf_activation), sdf_bias

    @property
    def feature_dim(self) -> int:
        return self.network.output_dim

    def set_step(self, step: int) -> None:
        if isinstance(self.encoding, FollowsStep):
            self.encoding.set_step(step)
        self.eps = self._eps_at(step)

    def sdf(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """The distance alone."""
        return self._level(self.network(self.encoding(self._to_unit(points)))[:, 0])

    def forward(
        self, points: Float[Tensor, "points 3"], *, with_gradient: bool = True, with_laplacian: bool = False
    ) -> SdfSample:
        """Distance and features, with ∇f and the Laplacian as asked; with history where gradients are on."""
        x = self._to_unit(points)
        features = self.encoding(x)
        gradient = laplacian = None
        if with_gradient and self.gradient_kind is GradientKind.ANALYTIC:
            raw, by_features = self.network.value_and_pullback(features)
            gradient = pullback(self.encoding, x, by_features) / (2 * self.radius)
            if self._bent:
                gradient = gradient * pullback(self._level, raw[:, :1], torch.ones_like(raw[:, :1]))
        else:
            raw = self.network(features)
        sdf = self._level(raw[:, 0])
        if with_laplacian or (with_gradient and gradient is None):
            ahead, behind = self._stencil(points)
            if with_gradient and gradient is None:
                gradient = ((ahead - behind) / (2 * self.eps)).T
            if with_laplacian:
                laplacian = (ahead + behind - 2 * sdf).sum(0) / self.eps**2
        return SdfSample(sdf, raw, gradient, laplacian)

    def _stencil(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "3 points"], Float[Tensor, "3 points"]]:
        """f(x ± ε e_i). Points are held inside the box; as published, the divisor does not shrink there."""
        shift = self.eps * torch.eye(3, dtype=points.dtype, device=points.device)
        moved = torch.stack([points + shift[:, None], points - shift[:, None]])  # [sign, axis, points, 3]
        values = self.sdf(moved.clamp(-self.radius, self.radius).reshape(-1, 3))
        ahead, behind = values.view(2, 3, len(points)).unbind(0)
        return ahead, behind

    def _to_unit(self, points: Tensor) -> Tensor:
        return contract_box(points, Box.cube(self.radius, points))

    def _level(self, raw: Tensor) -> Tensor:
        return self._activation(raw + self._bias) if self._bent or self._bias else raw

    def _eps_at(self, step: int) -> float:
        return self._eps.at(step, self.radius) if isinstance(self._eps, FinestCell) else self._eps
