"""How far apart points lie: the size a Gaussian needs to reach its neighbours (Kerbl et al. 2023, section 5.2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

NEIGHBOURS = 3
LEAST_SQUARED = 1e-7
"""Floor of the mean squared distance, for points on top of each other."""


def neighbour_distance(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Root of the mean squared distance to the three nearest other points; to as many as there are, where fewer."""
    n = len(points)
    count = min(NEIGHBOURS, n - 1)
    if count < 1:
        return points.new_full((n,), LEAST_SQUARED**0.5)
    exact = points.detach().double().cpu().numpy()
    distances = torch.from_numpy(KDTree(exact).query(exact, k=count + 1)[0][:, 1:])
    return distances.square().mean(1).clamp_min(LEAST_SQUARED).sqrt().to(points)
