"""Weights along a ray, the definition: one ray at a time, in plain torch, in any precision.

Of the light that travels along a ray, interval i stops the share α_i of what reaches it:

    T_i = ∏_{j<i} (1 - α_j)        transmittance, what reaches the interval
    w_i = T_i α_i                  weight, what it stops there

(Max 1995; Mildenhall et al. 2020, eq. 3). A density σ held over an interval of length δ stops α = 1 - exp(-σ δ).
"""

import torch
from torch import Tensor


def weights_from_alpha(alpha: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    transmittance = [_transmittance(ray) for ray in _rays(alpha, offsets)]
    reaching = torch.cat([alpha[:0], *transmittance])
    return reaching * alpha, reaching


def weights_from_density(density: Tensor, t_starts: Tensor, t_ends: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    return weights_from_alpha(1 - torch.exp(-density * (t_ends - t_starts)), offsets)


def accumulate(weights: Tensor, values: Tensor | None, offsets: Tensor) -> Tensor:
    stopped = weights[:, None] if values is None else weights[:, None] * values
    sums = [ray.sum(dim=0) for ray in _rays(stopped, offsets)]
    return torch.stack(sums) if sums else stopped


def distortion_loss(weights: Tensor, midpoints: Tensor, intervals: Tensor, offsets: Tensor) -> Tensor:
    """mip-NeRF 360, eq. 15: the double sum itself."""
    losses = [
        (w[:, None] * w[None, :] * (m[:, None] - m[None, :]).abs()).sum() + (w * w * d).sum() / 3
        for w, m, d in zip(_rays(weights, offsets), _rays(midpoints, offsets), _rays(intervals, offsets))
    ]
    return torch.stack(losses) if losses else weights


def visible(alpha: Tensor, offsets: Tensor, early_stop: float, alpha_threshold: float) -> Tensor:
    _, transmittance = weights_from_alpha(alpha, offsets)
    return (transmittance >= early_stop) & (alpha >= alpha_threshold)


def _rays(samples: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    return samples.split(offsets.diff().tolist())


def _transmittance(alpha: Tensor) -> Tensor:
    before = torch.cat([torch.ones_like(alpha[:1]), (1 - alpha)[:-1]])
    return before.cumprod(dim=0)
