"""The levels of a multiresolution hash grid (instant-ngp, Müller et al. 2022, arXiv:2201.05989, section 3).

Level l has scale s_l = N_min·b^l − 1 and ⌈s_l⌉ + 1 vertices along each axis. Where all vertices fit into the table of
2^T entries they are stored densely, otherwise their integer coordinates are hashed. The half-cell offset in the
position p = x·s_l + ½ keeps the cells of different levels from sharing borders; it also means that x = 1 touches the
vertex index equal to the resolution, which wraps round into the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

PRIMES = (1, 2654435761, 805459861)
"""Multipliers of the spatial hash, instant-ngp eq. 4 (Teschner et al. 2003)."""


@dataclass(frozen=True)
class HashGridSpec:
    """Shape of a hash grid. `per_level_scale` is b, `base_resolution` is N_min, `log2_table_size` is T."""

    n_levels: int = 16
    features_per_level: int = 2
    log2_table_size: int = 19
    base_resolution: int = 16
    per_level_scale: float = 1.4472692012786865

    @property
    def output_dim(self) -> int:
        return self.n_levels * self.features_per_level

    @property
    def total_entries(self) -> int:
        return int(levels(self).offsets[-1])


@dataclass(frozen=True)
class Levels:
    """Per level: what the kernels index with. `offsets` has one more entry, the total."""

    scales: np.ndarray
    resolutions: np.ndarray
    entries: np.ndarray
    hashed: np.ndarray
    offsets: np.ndarray


@cache
def levels(spec: HashGridSpec) -> Levels:
    """Tables of a grid's levels; scales in float64, so that a resolution never depends on the machine's rounding."""
    scales = np.array([spec.base_resolution * spec.per_level_scale**level - 1.0 for level in range(spec.n_levels)])
    resolutions = np.array([math.ceil(s) + 1 for s in scales], dtype=np.int64)
    full = resolutions**3
    capacity = 2**spec.log2_table_size
    entries = np.minimum((full + 7) // 8 * 8, capacity)
    offsets = np.concatenate([[0], np.cumsum(entries)]).astype(np.int64)
    return Levels(scales, resolutions, entries, full > entries, offsets)
