"""From signed distance to opacity: NeuS (Wang et al. 2021, arXiv:2106.10689, eq. 13).

With Φ_s the logistic function of inverse deviation s = `inv_s`, an interval that takes the distance from f to f' has
opacity α = (Φ_s(f) - Φ_s(f')) / Φ_s(f). f and f' are not measured but extrapolated from the middle of the interval
along the ray. The published code adds 1e-5 above and below: where both Φ underflow, deep inside, the ratio tends to 1
and not to 0/0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

GUARD = 1e-5


def alpha_from_sdf(
    sdf: Float[Tensor, "samples"],
    cos: Float[Tensor, "samples"],
    dt: Float[Tensor, "samples"],
    inv_s: Float[Tensor, ""],
) -> Float[Tensor, "samples"]:
    """Opacity of each ray interval crossing a signed distance field, in [0, 1].

    `sdf` is taken in the interval's middle, `cos` is direction · ∇sdf, negative where the ray enters (see
    `annealed_cos`); `dt` is the interval's length, in the units of `sdf`; `inv_s` is one over those units.
    """
    half_drop = cos * dt / 2
    cdf = torch.sigmoid((sdf - half_drop) * inv_s)
    next_cdf = torch.sigmoid((sdf + half_drop) * inv_s)
    return ((cdf - next_cdf + GUARD) / (cdf + GUARD)).clamp(0.0, 1.0)


def annealed_cos(cos: Float[Tensor, "samples"], ratio: float) -> Float[Tensor, "samples"]:
    """The cosine NeuS renders with: at `ratio` 0 forgiving, -(1 - cos)/2; at 1 the true one, cut off where the ray
    leaves.

    At the start normals are wrong, and a sample whose normal faces away must still be able to become surface.
    """
    forgiving = F.relu(0.5 - 0.5 * cos)
    strict = F.relu(-cos)
    return -(forgiving * (1 - ratio) + strict * ratio)


def anneal_ratio(step: int, end_step: int) -> float:
    """How far the cosine is annealed: step / end_step up to 1, and 1 from the start where `end_step` is 0."""
    return 1.0 if end_step <= 0 else min(1.0, step / end_step)


def occupancy_alpha(sdf: Float[Tensor, "points"], dt: float, inv_s: Float[Tensor, ""]) -> Float[Tensor, "points"]:
    """Opacity an interval of length `dt` would have met head-on (cos = -1): what an occupancy grid stores."""
    return alpha_from_sdf(sdf, torch.full_like(sdf, -1.0), torch.full_like(sdf, dt), inv_s)
