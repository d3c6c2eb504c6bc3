"""Matches on what stands still, where the camera stood and something else moved.

A camera that moves leaves hardly a match at the same pixel, save those of watermarks and of dirt on the lens. Where
many do not move, the photos show a background that says nothing, and verification, which looks for one motion per pair,
finds the background's, which is none. The raw matches are therefore verified once more without those.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rilievo.io.atomic import write_text
from rilievo.sfm.colmap import pycolmap
from rilievo.sfm.features import SEED, Database, Matches
from rilievo.sfm.stillness import MUCH_STILL, share_of_still_matches
from rilievo.sfm.turntable import STILL_PX

BEGUN, DONE = "still_matches", "still_matches_left_out"
"""In the work folder: the share there was, so that an interrupted run remembers."""


def leave_out_still_matches(
    database: Database,
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    keypoints: Sequence[np.ndarray],
    matches: Sequence[Matches],
) -> float | None:
    """Verify anew without matches that stand still where those are many; their share, or None where they are few."""
    begun, done = database.folder / BEGUN, database.folder / DONE
    if done.is_file():
        return float(done.read_text(encoding="utf-8"))
    if begun.is_file():
        share = float(begun.read_text(encoding="utf-8"))
    else:
        shares = share_of_still_matches(keypoints, matches)
        share = float(np.median(shares)) if len(shares) else 0.0
        if share < MUCH_STILL:
            return None
        write_text(begun, repr(share))
    listed = database.folder / "pairs.txt"
    write_text(listed, "".join(f"{names[i]} {names[j]}\n" for i, j in pairs))
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = SEED
    options.filter_stationary_matches, options.stationary_matches_max_error = True, STILL_PX
    with pycolmap.Database.open(database.path) as db:
        db.clear_two_view_geometries()
    pycolmap.verify_matches(database.path, listed, options)
    begun.replace(done)
    return share
