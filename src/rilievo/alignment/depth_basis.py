"""A low-rank basis for the depths of a view: smooth within surfaces, free across their edges.

The anchors' 3-D points form a graph with similarities exp(−γ (|p − q| / (z_p + z_q))²). The k eigenvectors of its
normalised Laplacian 1 − D^−½ W D^−½ (Shi and Malik 2000) with the smallest eigenvalues span the depth maps that the
aligner may choose from (MASt3R-SfM, Duisterhof et al. 2024, arXiv:2409.19152, published code). Each is scaled by its
own coefficient, but at least by `least_norm`, so that one step of the optimiser means as much in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """How depth is restricted to a basis."""

    rank: int = 64
    """Basis vectors per view."""
    gamma: float = 7.0
    """Sharpness of the similarity between anchors."""
    least_norm: float = 5.0
    """Smallest length of a basis vector."""


@dataclass(frozen=True)
class DepthBasis:
    """depth ≈ matrix @ coefficients."""

    matrix: Float[Tensor, "anchors rank"]
    coefficients: Float[Tensor, "rank"]


def similarities(points: Float[Tensor, "anchors 3"], gamma: float) -> Float[Tensor, "anchors anchors"]:
    """exp(−γ (|p − q| / (z_p + z_q))²)."""
    apart = torch.linalg.vector_norm(points[:, None] - points[None], dim=-1)
    return torch.exp(-gamma * (apart / (points[:, None, 2] + points[None, :, 2])) ** 2)


def laplacian_spectrum(
    similarity: Float[Tensor, "anchors anchors"],
) -> tuple[Float[Tensor, "anchors"], Float[Tensor, "anchors anchors"]]:
    """Eigenvalues, ascending, and eigenvectors (columns) of the normalised Laplacian; nothing is similar to itself."""
    W = similarity - torch.diag(torch.diagonal(similarity))
    scale = W.sum(1).clamp_min(torch.finfo(W.dtype).tiny).rsqrt()
    identity = torch.eye(len(W), dtype=W.dtype, device=W.device)
    return torch.linalg.eigh(identity - scale[:, None] * W * scale)


def depth_basis(points: Float[Tensor, "anchors 3"], depth: Float[Tensor, "anchors"], low_rank: LowRank) -> DepthBasis:
    """Basis of a view whose anchors lie at `points` (camera frame), and the coefficients of `depth` in it."""
    _, vectors = laplacian_spectrum(similarities(points.double(), low_rank.gamma))
    vectors = vectors[:, : low_rank.rank].to(depth.dtype)
    raw = vectors.mT @ depth
    length = raw.abs().clamp_min(low_rank.least_norm)
    return DepthBasis(vectors * length, raw / length)
