"""Ray marching, the definition: all rays take every step together, and each step looks up one cell per ray.

Every product and sum is written in the order in which the kernels do it, so that results agree to the last bit.
"""

import torch
from torch import Tensor

from rilievo.geometry.box import Box
from rilievo.geometry.contraction import contract_box, contract_unbounded


def march_rays(
    origins: Tensor,
    directions: Tensor,
    start: Tensor,
    t_max: Tensor,
    occupied: Tensor,
    radius: float,
    unbounded: bool,
    step: float,
    cone_angle: float,
    max_step: float,
    max_samples: int,
) -> tuple[Tensor, Tensor, Tensor]:
    starts, ends, kept = [], [], []
    taken = torch.zeros_like(start, dtype=torch.int64)
    lattice = start.new_tensor(step)
    t, k = start, 0
    while True:
        if cone_angle > 0:  # intervals grow: each begins where the last one ended
            t_next = t + (t * cone_angle).clamp(step, max_step)
        else:  # a lattice, without the error of adding up
            t, t_next = start + k * lattice, start + (k + 1) * lattice
        middle = (t + t_next) / 2
        walking = middle < t_max
        if not walking.any():
            break
        keep = walking & _looks_occupied(origins + directions * middle[:, None], occupied, radius, unbounded)
        if max_samples >= 0:
            keep &= taken < max_samples
        taken += keep
        starts.append(t)
        ends.append(t_next)
        kept.append(keep)
        t, k = t_next, k + 1
    offsets = torch.cat([taken.new_zeros(1), taken.cumsum(0)])
    if not kept:
        return offsets, start[:0], start[:0]
    by_ray = torch.stack(kept, dim=1)
    return offsets, torch.stack(starts, dim=1)[by_ray], torch.stack(ends, dim=1)[by_ray]


def _looks_occupied(points: Tensor, occupied: Tensor, radius: float, unbounded: bool) -> Tensor:
    if unbounded:
        position = contract_unbounded(points, radius)
    else:
        position = contract_box(points, Box(points.new_full((3,), -radius), points.new_full((3,), radius)))
    inside = ((position >= 0) & (position < 1)).all(dim=-1)
    resolution = len(occupied)
    cell = (position * resolution).nan_to_num().long().clamp(0, resolution - 1)
    return inside & occupied[cell[:, 0], cell[:, 1], cell[:, 2]]
