"""Maps from the world, bounded or not, into the unit cube [0, 1]³ on which grids live.

Of the unbounded kind is mip-NeRF 360's (Barron et al. 2022, eq. 10): inside the unit ball x stays, outside it becomes
(2 − 1/|x|) x/|x|, so that all of space fits in the ball of radius 2. Both are smooth functions without branches:
gradients of every order are finite at 0.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from rilievo.geometry.box import Box


def contract_box(points: Float[Tensor, "*b 3"], box: Box) -> Float[Tensor, "*b 3"]:
    """Box onto [0, 1]³; points outside the box land outside the cube."""
    return (points - box.low) / box.size


def uncontract_box(unit: Float[Tensor, "*b 3"], box: Box) -> Float[Tensor, "*b 3"]:
    """Inverse of `contract_box`."""
    return box.low + unit * box.size


def contract_unbounded(points: Float[Tensor, "*b 3"], radius: float) -> Float[Tensor, "*b 3"]:
    """All of space into [0, 1]³: the ball of `radius` about 0 onto the ball of radius 1/4 about the cube's centre."""
    x = points / radius
    far = (x * x).sum(-1, keepdim=True).clamp_min(1).sqrt()  # |x|, or 1 inside the ball, where the factor below is 1
    return x * ((2 - 1 / far) / far) / 4 + 0.5


def uncontract_unbounded(unit: Float[Tensor, "*b 3"], radius: float) -> Float[Tensor, "*b 3"]:
    """Inverse of `contract_unbounded` inside the ball of radius 1/2 about the cube's centre; its border is infinity."""
    y = (unit - 0.5) * 4
    length = (y * y).sum(-1, keepdim=True).clamp_min(1).sqrt()
    return y / (length * (2 - length)) * radius
