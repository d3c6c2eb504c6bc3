"""Photos kept at several sizes: `rgb/1x`, `rgb/2x`, … hold the same frames at full size, half of it, … (Nerfies)."""

from __future__ import annotations

from pathlib import Path

PUBLISHED_FACTOR = 2
"""Half size, which the numbers published on these captures are for."""


def scaled_photos(folder: Path) -> tuple[Path, int] | None:
    """The folder `rgb/2x`, or without it that of the largest photos, and by how much its photos were shrunk.

    None where there is no such folder.
    """
    sizes = {
        int(path.name[:-1]): path
        for path in (folder / "rgb").glob("*x")
        if path.is_dir() and path.name[:-1].isascii() and path.name[:-1].isdecimal()
    }
    sizes.pop(0, None)
    if not sizes:
        return None
    factor = PUBLISHED_FACTOR if PUBLISHED_FACTOR in sizes else min(sizes)
    return sizes[factor], factor
