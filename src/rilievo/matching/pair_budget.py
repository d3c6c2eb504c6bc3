"""What comparing pairs will take of the disk and of memory, told before starting.

Disk grows with the number of pairs, memory does not: one pair is predicted, matched and written before the next.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from rilievo.errors import clear
from rilievo.matching.nearest import CPU_BLOCK
from rilievo.matching.pair_file import Precision

VIEWS = 4
"""Two photos in two ordered predictions."""
FILE_OVERHEAD_BYTES = 8192
"""Names, checksums and headers of the arrays of one file."""
MATCH_BYTES = 5 * 4
"""Two positions and a confidence in single precision."""
HELD_MATCH_BYTES = 16 * 8
"""The same while matches are being made: indices, sorted copies and confidences."""
LIBRARY_BYTES = 32 << 20
"""Buffers of the matrix library, and freed memory that the allocator keeps."""


@dataclass(frozen=True)
class PairBudget:
    """Upper bounds for a list of pairs."""

    photos: int
    pairs: int
    disk_bytes: int
    peak_memory_bytes: int
    """Main memory beyond what the program takes before it starts."""

    def __str__(self) -> str:
        return (
            f"{self.photos} photos, {self.pairs} pairs: at most {self.disk_bytes / 1e9:.2f} GB on disk "
            f"and {self.peak_memory_bytes / 1e9:.2f} GB of memory"
        )

    def require_room(self, folder: Path, stored_bytes: int = 0) -> None:
        """Raise `UserError` when the disk that holds `folder` has no room for what is not stored yet."""
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
        free, needed = shutil.disk_usage(there).free, self.disk_bytes - stored_bytes
        if needed > free:
            raise clear(
                f"room in {folder}",
                expected=f"{needed / 1e9:.2f} GB for {self.pairs} pairs",
                got=f"{free / 1e9:.2f} GB free",
                do="choose another folder, a sparser scene graph or smaller images",
            )


def estimate(
    photos: int,
    pairs: int,
    size_hw: tuple[int, int],
    *,
    descriptor_dim: int = 24,
    step: int = 8,
    precision: Precision = Precision.HALF,
    photos_held: int | None = None,
    predictor_bytes: int = 0,
) -> PairBudget:
    """What `pairs` unordered pairs of photos of at most `size_hw` will take.

    `photos_held` photos are in memory as float32 colour meanwhile (all, unless told), and the predictor takes
    `predictor_bytes` for its weights and activations.
    """
    h, w = size_hw
    pixels = h * w
    matches = min(2 * 2 * ceil(h / step) * ceil(w / step), 2 * pixels)
    number = 2 if precision is Precision.HALF else 4
    disk = VIEWS * pixels * (3 + 1) * number + matches * MATCH_BYTES + FILE_OVERHEAD_BYTES

    predicted = 2 * VIEWS * pixels * (3 + 1 + descriptor_dim + 1) * 4  # each map is made from another of its size
    searched = 2 * pixels * (descriptor_dim * (4 + 2) + 8)  # a prediction's maps, compacted, with their indices
    products = 2 * CPU_BLOCK[0] * CPU_BLOCK[1] * 4 + LIBRARY_BYTES
    matching = searched + products + matches * HELD_MATCH_BYTES
    writing = disk + pixels * 3 * 4 * 3  # the arrays of the file, and one map on its way there
    held = (photos if photos_held is None else photos_held) * pixels * 3 * 4
    peak = held + predictor_bytes + predicted + max(matching, writing)
    return PairBudget(photos, pairs, pairs * disk, peak)
