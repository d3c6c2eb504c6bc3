"""What the opacity of a ray, Σ weights, should be, per ray."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

CLAMP = 1e-3
"""Keeps the logarithms, and one wrong mask pixel's gradient, below 1000."""


def binary_cross_entropy(probability: Float[Tensor, "rays"], target: Float[Tensor, "rays"]) -> Float[Tensor, "rays"]:
    """-t ln p - (1-t) ln(1-p) for p strictly inside (0, 1); differentiable in both."""
    return -(target * probability.log() + (1 - target) * (1 - probability).log())


def mask_loss(
    opacity: Float[Tensor, "rays"], mask: Float[Tensor, "rays"] | Bool[Tensor, "rays"]
) -> Float[Tensor, "rays"]:
    """Cross entropy with an object mask: rays are opaque on the object and empty beside it (NeuS, arXiv:2106.10689,
    eq. 16).
    """
    return binary_cross_entropy(opacity.clamp(CLAMP, 1 - CLAMP), mask.to(opacity.dtype))


def opaque_loss(opacity: Float[Tensor, "rays"]) -> Float[Tensor, "rays"]:
    """Entropy of the opacity: a ray should hit or miss, not half of each."""
    clamped = opacity.clamp(CLAMP, 1 - CLAMP)
    return binary_cross_entropy(clamped, clamped)
