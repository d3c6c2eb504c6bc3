"""Distortion of a ray's weights: light should be stopped in one place (mip-NeRF 360, arXiv:2111.12077, eq. 15)."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.ops.ray_weights import distortion_loss


def distortion(
    weights: Float[Tensor, "samples"],
    midpoints: Float[Tensor, "samples"],
    intervals: Float[Tensor, "samples"],
    offsets: Int64[Tensor, "rays_plus_1"],
) -> Float[Tensor, "rays"]:
    """Σ_ij w_i w_j |m_i - m_j| + ⅓ Σ_i w_i² δ_i per ray of packed samples; the gradient moves weights, not samples.

    The published mean leaves out empty rays at the end of the batch, so that it depends on the order of rays; ours is
    for the mean over all of them.
    """
    return distortion_loss(weights, midpoints.detach(), intervals.detach(), offsets)
