"""A volume density with features: NeRF on a hash grid (arXiv:2003.08934; instant-ngp, arXiv:2201.05989).

σ(x) = exp(network(γ(contract(x)))₀ + b): with b = -1 an untrained field is nearly, but not quite, empty, so that
every ray still receives a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from .activation import activation
from .encoding import Encoding, FollowsStep


@dataclass(frozen=True)
class DensitySample:
    """What a density field says about points."""

    density: Float[Tensor, "points"]
    """Extinction per world unit, ≥ 0."""
    feature: Float[Tensor, "points features"]
    """Everything the network gave; channel 0 is the density before bias and activation."""


class DensityField(nn.Module):
    """World points → density and features. `contract` takes world points to [0, 1]³: a box, or all of space around a
    sphere.
    """

    def __init__(
        self,
        encoding: Encoding,
        network: nn.Module,
        contract: Callable[[Tensor], Tensor],
        *,
        density_activation: str = "trunc_exp",
        density_bias: float = -1.0,
    ) -> None:
        super().__init__()
        self.encoding, self.network, self.contract = encoding, network, contract
        self._activation, self._bias = activation(density_activation), density_bias

    def set_step(self, step: int) -> None:
        if isinstance(self.encoding, FollowsStep):
            self.encoding.set_step(step)

    def forward(self, points: Float[Tensor, "points 3"]) -> DensitySample:
        raw = self.network(self.encoding(self.contract(points)))
        return DensitySample(self._activation(raw[:, 0] + self._bias), raw)

    def level(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """Minus the density: like a distance, lower inside, which is what meshing expects."""
        return -self(points).density
