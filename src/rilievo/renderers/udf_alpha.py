"""From unsigned distance to opacity: NeuralUDF (Long et al. 2023, arXiv:2211.14173, sections 3.2 and 3.3).

Along a ray u falls to zero at a surface and rises again behind it. Seen as a signed distance it would be +u before the
first crossing and -u after, and the two give NeuS's opacities α₊ and α₋ (`alpha_from_sdf`). Which of them holds is a
matter of probability: the *visibility* v that no surface has been crossed yet,

    h = γ β e^{-βu} / (1 + e^{-βu})²        rate of crossing, a logistic bell round u = 0        (eq. 5)
    v_i = Π_{j<i} clamp(e^{-h_j dt_j} + m_j)                                                      (eq. 7, 8)
    α = v α₊ + (1 - v) α₋                                                                       (eq. 9)

m keeps a sample from hiding others while the ray still approaches the surface (u falls at the next sample): the bell
has a foot on both sides, and hiding the surface behind its own foot would bend it. m is `saturation` there, 0
elsewhere.

Products along rays are dense here, [rays, samples] near to far (`udf_surface` has them packed). β, γ and `inv_s` are in
one over the units of u.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .alpha import alpha_from_sdf, annealed_cos

LEAST_LIGHT = 1e-7
"""Added to each factor of a product along a ray, as published, so that a full stop has a gradient."""

APPROACHING = 0.01
"""A sample whose cosine is below this belongs to a ray that is not leaving the surface yet."""

OpacityFn = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def crossing_rate(udf: Float[Tensor, "*samples"], beta: Float[Tensor, ""] | float) -> Float[Tensor, "*samples"]:
    """β e^{-βu} / (1 + e^{-βu})², the density of a logistic of inverse width β: β/4 on the surface. Times γ it is h."""
    inside = torch.sigmoid(-beta * udf)
    return beta * inside * (1 - inside)


def crossing_alpha(
    udf: Float[Tensor, "*samples"],
    dt: Float[Tensor, "*samples"],
    beta: Float[Tensor, ""] | float,
    gamma: Float[Tensor, ""] | float,
) -> Float[Tensor, "*samples"]:
    """Probability 1 - e^{-h dt} that a surface is crossed within each interval."""
    return -torch.expm1(-gamma * crossing_rate(udf, beta) * dt)


def visibility(
    crossing: Float[Tensor, "rays samples"], forgiven: Bool[Tensor, "rays samples"], saturation: float
) -> Float[Tensor, "rays samples"]:
    """Probability v that nothing has been crossed before each sample; `forgiven` ones hide less by `saturation`."""
    return light_left(passing_share(crossing, forgiven, saturation)).clamp(0, 1)


def passing_share(
    crossing: Float[Tensor, "*samples"], forgiven: Bool[Tensor, "*samples"], saturation: float
) -> Float[Tensor, "*samples"]:
    """What each sample leaves of the visibility behind it."""
    return (1 - crossing + saturation * forgiven.to(crossing.dtype)).clamp(0, 1)


def still_approaching(cos: Float[Tensor, "rays samples"]) -> Bool[Tensor, "rays samples"]:
    """Where u does not rise yet at the next sample; `cos` is direction · ∇u. The last sample has no next and counts."""
    last = torch.ones_like(cos[:, :1], dtype=torch.bool)
    return torch.cat([cos[:, 1:] < APPROACHING, last], dim=1)


def alpha_from_udf(
    udf: Float[Tensor, "*samples"],
    cos: Float[Tensor, "*samples"],
    dt: Float[Tensor, "*samples"],
    inv_s: Float[Tensor, ""],
    visible: Float[Tensor, "*samples"],
    *,
    cos_anneal: float | None = None,
    opacity: OpacityFn = alpha_from_sdf,
) -> Float[Tensor, "*samples"]:
    """Opacity of each ray interval crossing an unsigned distance field.

    `udf` is taken in the interval's middle, `cos` is direction · ∇u of either sign, `visible` is `visibility`.
    `cos_anneal` as in `annealed_cos`, None for the cosine as it is; `opacity` is `alpha_from_sdf` or
    `continuous_alpha`.
    """
    fall = -cos.abs().reshape(-1)
    if cos_anneal is not None:
        fall = annealed_cos(fall, cos_anneal)
    flat, length = udf.reshape(-1), dt.reshape(-1)
    before = opacity(flat, fall, length, inv_s).view_as(udf)
    behind = opacity(-flat, fall, length, inv_s).view_as(udf)
    return before * visible + behind * (1 - visible)


def continuous_alpha(
    sdf: Float[Tensor, "samples"],
    cos: Float[Tensor, "samples"],
    dt: Float[Tensor, "samples"],
    inv_s: Float[Tensor, ""],
) -> Float[Tensor, "samples"]:
    """1 - e^{-ρ dt} with NeuS's density ρ = |cos| s (1 - Φ_s(f)), constant over the interval (NeuS, eq. 10)."""
    return -torch.expm1(-cos.abs() * inv_s * torch.sigmoid(-sdf * inv_s) * dt)


def light_left(passing: Float[Tensor, "rays samples"]) -> Float[Tensor, "rays samples"]:
    """Product of what all earlier samples let pass, 1 at the first."""
    return torch.cat([torch.ones_like(passing[:, :1]), passing[:, :-1] + LEAST_LIGHT], dim=1).cumprod(dim=1)


def weights_along(alpha: Float[Tensor, "rays samples"]) -> Float[Tensor, "rays samples"]:
    """Share of the light that each sample contributes, α_i Π_{j<i} (1 - α_j)."""
    return alpha * light_left(1 - alpha)
