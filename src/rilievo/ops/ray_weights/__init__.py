"""Weights along packed rays: how much of each ray's light every sample stops, and sums and losses made of them.

Symbols: opacity `alpha` of an interval, `density` per unit length, `weights` w and `transmittance` T of each sample,
`midpoints` and `intervals` of the samples along the ray. Samples are packed (see `ops.packed`): ray i owns
offsets[i] … offsets[i + 1] - 1, near to far; rays without samples are fine.

Everything is defined in `reference`. Results do not depend on the number of threads. Opaque samples (alpha = 1) are
exact, forward and backward. Half-precision inputs are computed and returned in float32: products along a ray need the
digits.
Derivatives of any order, except that the weights have two.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.errors import clear
from rilievo.ops.packed import check_offsets


def weights_from_alpha(
    alpha: Float[Tensor, "samples"], offsets: Int64[Tensor, "rays_plus_1"]
) -> tuple[Float[Tensor, "samples"], Float[Tensor, "samples"]]:
    """Weights w_i = T_i α_i and transmittance T_i = ∏_{j<i} (1 - α_j) of each sample, from opacities in [0, 1]."""
    from rilievo.ops.ray_weights import register

    check_offsets(offsets, len(alpha))
    return register.weights_from_alpha(_computable(alpha), offsets)


def weights_from_density(
    density: Float[Tensor, "samples"],
    t_starts: Float[Tensor, "samples"],
    t_ends: Float[Tensor, "samples"],
    offsets: Int64[Tensor, "rays_plus_1"],
) -> tuple[Float[Tensor, "samples"], Float[Tensor, "samples"]]:
    """Weights and transmittance from densities σ that are constant per interval: α = 1 - exp(-σ (t_end - t_start)).

    Gradients flow to the density and to both ends of the intervals.
    """
    optical_depth = _computable(density) * (_computable(t_ends) - _computable(t_starts))
    return weights_from_alpha(-torch.expm1(-optical_depth), offsets)


def accumulate(
    weights: Float[Tensor, "samples"],
    values: Float[Tensor, "samples channels"] | None,
    offsets: Int64[Tensor, "rays_plus_1"],
) -> Float[Tensor, "rays channels"]:
    """Σ w_i v_i along each ray; without values the opacity Σ w_i, as one channel. Rays without samples give zeros."""
    from rilievo.ops.ray_weights import register

    check_offsets(offsets, len(weights))
    weights = _computable(weights)
    if values is None:
        return register.sum_along_rays(weights[:, None], offsets)
    _same_samples(weights, values=values)
    return register.accumulate(weights, values.to(weights.dtype), offsets)


def distortion_loss(
    weights: Float[Tensor, "samples"],
    midpoints: Float[Tensor, "samples"],
    intervals: Float[Tensor, "samples"],
    offsets: Int64[Tensor, "rays_plus_1"],
) -> Float[Tensor, "rays"]:
    """Σ_ij w_i w_j |m_i - m_j| + ⅓ Σ_i w_i² δ_i of each ray, in time linear in its samples.

    mip-NeRF 360 (Barron et al. 2022, arXiv:2111.12077), eq. 15. Midpoints must not decrease along a ray. As published,
    the gradient flows to the weights only; midpoints or intervals that want one raise `UserError`.
    """
    from rilievo.ops.ray_weights import register

    check_offsets(offsets, len(weights))
    _same_samples(weights, midpoints=midpoints, intervals=intervals)
    if midpoints.requires_grad or intervals.requires_grad:
        raise clear(
            "distortion_loss",
            expected="midpoints and intervals without gradient",
            got="ones that require it",
            do="detach them: the loss moves weights, not samples",
        )
    weights = _computable(weights)
    pull = register.distortion_pull(weights, midpoints.to(weights.dtype), intervals.to(weights.dtype), offsets)
    return register.accumulate(weights, pull[:, None], offsets)[:, 0] / 2  # a quadratic form: half of w · ∂L/∂w


@torch.no_grad()
def visible(
    alpha: Float[Tensor, "samples"],
    offsets: Int64[Tensor, "rays_plus_1"],
    early_stop: float = 1e-4,
    alpha_threshold: float = 0.0,
) -> Bool[Tensor, "samples"]:
    """Which samples light reaches (transmittance ≥ early_stop) and that stop enough of it (alpha ≥ alpha_threshold)."""
    _, transmittance = weights_from_alpha(alpha, offsets)
    return (transmittance >= early_stop) & (alpha >= alpha_threshold)


def _computable(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _same_samples(weights: Tensor, **others: Tensor) -> None:
    for name, other in others.items():
        if len(other) != len(weights):
            raise clear(
                name,
                expected=f"one per weight, {len(weights)}",
                got=str(len(other)),
                do="pass what belongs to the same samples",
            )
