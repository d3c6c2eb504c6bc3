"""How much of what was matched a reconstruction accounts for, whichever motion it assumes.

The same photos may have been reconstructed with free poses and with poses on a circle. Both are asked about the same
tracks, those that all matches join to: poses and lenses are held, each track is intersected anew, and an observation is
explained where its point projects onto it, in front of the camera, as it does in another view at least. Photos without
a pose explain nothing. Of two that explain equally much, the one with fewer parameters is the more exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64

from rilievo.sfm.bundle import Structure, Tracks
from rilievo.sfm.tracks import intersect

REACH = 3.0
"""Pixels between a point's projection and the feature; SIFT's own errors stay well below."""


def explained(structure: Structure, views: Sequence[int], tracks: Tracks) -> Bool[np.ndarray, "o"]:
    """Which observations of `tracks` (whose views are numbers of photos) `structure` of the photos `views` explains."""
    if not len(tracks.point):
        return np.zeros(0, dtype=bool)
    place = np.full(max(int(tracks.view.max()), *views) + 1, -1)
    place[list(views)] = np.arange(len(views))
    placed = np.flatnonzero(place[tracks.view] >= 0)
    seen = Tracks(place[tracks.view[placed]], tracks.point[placed], tracks.xy[placed])
    count = int(tracks.point.max()) + 1
    asked = replace(structure, points=np.zeros((count, 3)))
    asked = replace(asked, points=intersect(asked, seen))
    good = (np.linalg.norm(asked.residuals(seen), axis=1) < REACH) & (asked.depths(seen) > 0)
    good &= np.bincount(seen.point[good], minlength=count)[seen.point] >= 2
    answer = np.zeros(len(tracks.point), dtype=bool)
    answer[placed[good]] = True
    return answer


def share_by_view(told: Bool[np.ndarray, "o"], tracks: Tracks, count: int) -> Float64[np.ndarray, "n"]:
    """Of each of `count` photos the share of its observations that are `told`; nan where it has none."""
    all_of = np.bincount(tracks.view, minlength=count)
    return np.where(all_of > 0, np.bincount(tracks.view[told], minlength=count) / np.maximum(all_of, 1), np.nan)
