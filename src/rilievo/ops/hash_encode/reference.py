"""Hash encoding in plain torch: the definition. Differentiable as often as you like, in any floating dtype."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .spec import PRIMES, HashGridSpec, levels


def hash_encode(
    x: Float[Tensor, "points 3"],
    table: Float[Tensor, "entries features"],
    spec: HashGridSpec,
    active_levels: int,
) -> Float[Tensor, "points channels"]:
    """Trilinear interpolation of table rows at every level, level-major; levels from `active_levels` on give zeros."""
    corners = torch.tensor([[c >> d & 1 for d in range(3)] for c in range(8)], device=x.device)  # [8, 3]
    per_level = []
    for level in range(active_levels):
        scale, _, _, _, offset = _level(spec, level)
        position = x * scale + 0.5
        cell = position.detach().floor()
        fraction = (position - cell)[:, None]  # [points, 1, 3]
        weights = torch.where(corners.bool(), fraction, 1 - fraction).prod(-1)  # [points, 8]
        rows = table[offset + corner_index(cell.long()[:, None] + corners, spec, level)]
        per_level.append((weights[..., None] * rows).sum(1))
    silent = (spec.n_levels - active_levels) * spec.features_per_level
    return torch.cat([*per_level, x.new_zeros(x.shape[0], silent)], dim=-1)


def corner_index(corner: Int64[Tensor, "*batch 3"], spec: HashGridSpec, level: int) -> Int64[Tensor, "*batch"]:
    """Entry of a lattice vertex within its level: dense where the level fits, else hashed (instant-ngp, eq. 4)."""
    _, resolution, entries, hashed, _ = _level(spec, level)
    x, y, z = corner.unbind(-1)
    if hashed:
        index = (x * PRIMES[0]) ^ (y * PRIMES[1]) ^ (z * PRIMES[2])
    else:
        index = x + y * resolution + z * resolution**2
    return index % entries


@torch.compiler.assume_constant_result
def _level(spec: HashGridSpec, level: int) -> tuple[float, int, int, bool, int]:
    """Scale, resolution, entries, hashed and offset as plain numbers, which `torch.compile` takes for constants."""
    grid = levels(spec)
    return (
        float(grid.scales[level]),
        int(grid.resolutions[level]),
        int(grid.entries[level]),
        bool(grid.hashed[level]),
        int(grid.offsets[level]),
    )
