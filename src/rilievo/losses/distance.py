"""What a signed distance field owes, per sample: unit slope, no stray sheets, no needless bending."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def eikonal(gradient: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples"]:
    """(|∇f| - 1)²: a distance grows by one per unit of length (IGR, Gropp et al. 2020, arXiv:2002.10099)."""
    return (gradient.norm(dim=-1) - 1).square()


def sparsity(sdf: Float[Tensor, "samples"], scale: float) -> Float[Tensor, "samples"]:
    """exp(-scale |f|): surface costs, so hidden sheets go (SparseNeuS, Long et al. 2022, arXiv:2206.05737, eq.
    11).
    """
    return (-scale * sdf.abs()).exp()


def curvature(laplacian: Float[Tensor, "samples"]) -> Float[Tensor, "samples"]:
    """|∇²f|, twice the mean curvature of a distance field (Neuralangelo, arXiv:2306.03092, eq. 8)."""
    return laplacian.abs()
