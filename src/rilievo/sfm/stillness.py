"""Does the background stand still while the object moves? Then they disagree about the camera's motion.

Consecutive photos are compared at low resolution outside their masks: where they differ by much less than a photo does
from itself shifted by a few pixels, and the background has texture to tell, the camera did not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rilievo.io.image import read_color
from rilievo.sfm.features import Matches
from rilievo.sfm.photos import Photo, PhotoSet

WIDTH = 160
SHIFT = 2
"""Of the small picture's pixels: about a percent of the width."""
LEAST_TEXTURE = 1.5
"""Grey levels by which a shift must change the background before it can bear witness."""
STILL = 0.35
MUCH_STILL = 0.3
"""Median share of matches between neighbours that do not move, above which a standing camera is suspected."""


def motion_warnings(found: PhotoSet, stands_still: bool, still: Sequence[float]) -> list[str]:
    """What to say when one part of the pictures moves and another does not.

    `stands_still` as `background_stands_still` has it; `still` are shares of what does not move between neighbours.
    """
    if stands_still:
        return [
            "warning: the background stands still while the object moves, as on a turntable; "
            "--turntable makes use of that"
        ]
    if not found.has_masks and len(still) and np.median(still) > MUCH_STILL:
        return [
            f"warning: {100 * np.median(still):.0f} % of the matches between neighbouring photos do not move; if the "
            "camera stood still and the object turned, give --masks DIR and --turntable"
        ]
    return []


def background_stands_still(photos: Sequence[Photo], most: int = 12) -> bool:
    """Whether most of up to `most` neighbouring pairs with masks agree that only the object moved."""
    pairs = [(a, b) for a, b in pairwise(photos) if a.mask and b.mask and a.size_px == b.size_px]
    votes = [_still(a, b) for a, b in pairs[:: max(1, len(pairs) // most)]]
    told = [vote for vote in votes if vote is not None]
    return len(told) >= 2 and sum(told) > 0.8 * len(told)


def share_of_still_matches(keypoints: Sequence[np.ndarray], matches: Sequence[Matches]) -> list[float]:
    """Of each pair of neighbours: the share of its matches that do not move by a pixel."""
    shares = []
    for m in matches:
        if m.second == m.first + 1:
            step = keypoints[m.first][m.features[:, 0]] - keypoints[m.second][m.features[:, 1]]
            shares.append(float(np.mean(np.linalg.norm(step, axis=1) < 1.0)))
    return shares


def _still(a: Photo, b: Photo) -> bool | None:
    """None where the background is too plain, or too little of it is seen."""
    size = (WIDTH, max(8, round(WIDTH * a.size_px[1] / a.size_px[0])))
    grey_a, grey_b = (read_color(p.path, size_px=size).mean(axis=2) for p in (a, b))
    outside = ~(_object(a, size) | _object(b, size))
    inner = outside[:, SHIFT:] & outside[:, :-SHIFT]
    if inner.mean() < 0.1:
        return None
    shifted = np.abs(grey_a[:, SHIFT:] - grey_a[:, :-SHIFT])[inner].mean()
    if shifted < LEAST_TEXTURE:
        return None
    return bool(np.abs(grey_a - grey_b)[outside].mean() < STILL * shifted)


def _object(photo: Photo, size: tuple[int, int]) -> np.ndarray:
    """The mask at `size`, a little wider."""
    pixels = photo.mask_pixels()
    assert pixels is not None, "called for photos with masks"
    h, w = pixels.shape
    rows, columns = np.arange(size[1]) * h // size[1], np.arange(size[0]) * w // size[0]
    small = pixels[rows][:, columns] >= 128
    grown = small.copy()
    for axis in (0, 1):
        for by in (-2, -1, 1, 2):
            grown |= np.roll(small, by, axis=axis)
    return grown
