"""New photos placed in an aligned scene by SIFT features.

The scene's photos are matched with each other and triangulated in their known poses; a feature of a new photo that
matches one of theirs shows the point which that one is of.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rilievo.errors import clear
from rilievo.io.atomic import unwritable
from rilievo.pipelines.anchor_scene import AnchorScene, Localized, Sighted, place_all
from rilievo.sfm.align import WORK, AlignSettings, Progress
from rilievo.sfm.features import (
    Matches,
    extract,
    match,
    open_database,
    pairs_of,
    read_keypoints,
    read_matches,
    stored_name,
)
from rilievo.sfm.lens import Belief, belief
from rilievo.sfm.mapping import Mapped, triangulate
from rilievo.sfm.photos import PhotoSet


def localize_photos(
    found: PhotoSet, anchors: AnchorScene, out: Path, settings: AlignSettings, lens: Belief | None, progress: Progress
) -> Localized:
    """Place `found` in the scene `anchors` and write the scene folder `out`, which may hold an interrupted run's work.

    Raises `UserError` where the scene's photos share no points, no photo has a place, or the folder cannot be written.
    """
    work, count = out / WORK, len(anchors.photos)
    everything = PhotoSet(anchors.photos + found.photos)
    groups, beliefs = _lenses(anchors, found, lens)
    try:
        work.mkdir(parents=True, exist_ok=True)
        database = open_database(work, everything, settings.features)
    except OSError as error:
        raise unwritable(out, error) from error
    names = [stored_name(i, photo) for i, photo in enumerate(everything.photos)]
    pairs = pairs_of(count, False, settings.features.pairs)
    pairs += [(anchor, new) for new in range(count, len(names)) for anchor in range(count)]
    finding = extract(database, everything, groups, beliefs, settings.features, settings.threads)
    progress(finding, len(names), "features")
    progress(match(database, names, pairs, settings.threads), len(pairs), "matches")
    mapped = triangulate(database, names[:count], groups[:count], beliefs, anchors.cam_from_world)
    if mapped is None:
        raise clear(
            f"--onto {anchors.folder}",
            expected="photos that overlap, with cameras that agree with them",
            got="no point that two of them see",
            do="check that the scene's cameras belong to its photos",
        )
    keypoints, matches = read_keypoints(database, names), read_matches(database, names, pairs)
    sighted = _sighted(mapped, keypoints, matches, count, len(names))
    placed = place_all(found, sighted, anchors, lens, out, work / "scene")
    shutil.rmtree(work, ignore_errors=True)
    return placed


def _lenses(anchors: AnchorScene, found: PhotoSet, lens: Belief | None) -> tuple[list[int], list[Belief]]:
    """The lens group of each photo, the scene's first, and what is known or believed of each group's lens."""
    kinds: dict[tuple[object, ...], Belief] = {}
    keys: list[tuple[object, ...]] = []
    for photo, own in zip(anchors.photos, anchors.lenses):
        keys.append(("scene", photo.size_px, own.mean.tobytes()))
        kinds.setdefault(keys[-1], own)
    for photo in found.photos:
        keys.append(("new", photo.lens))
        kinds.setdefault(keys[-1], lens or anchors.lens_of(photo) or belief(photo.size_px, photo.focal_px))
    order = list(kinds)
    return [order.index(key) for key in keys], [kinds[key] for key in order]


def _sighted(
    mapped: Mapped, keypoints: Sequence[np.ndarray], matches: Sequence[Matches], count: int, total: int
) -> list[Sighted]:
    """What each new photo, counted from `count`, shows of the triangulated points."""
    point_at: list[dict[tuple[float, ...], int]] = [{} for _ in range(count)]
    for view, point, xy in zip(mapped.tracks.view.tolist(), mapped.tracks.point.tolist(), mapped.tracks.xy.tolist()):
        point_at[mapped.views[view]][tuple(xy)] = point
    shown: list[set[tuple[int, int]]] = [set() for _ in range(total)]
    for m in matches:
        if m.first < count <= m.second:
            for here, there in m.features.tolist():
                point = point_at[m.first].get(tuple(keypoints[m.first][here].tolist()))
                if point is not None:
                    shown[m.second].add((point, there))
    sighted = []
    for new in range(count, total):
        rows = np.array(sorted(shown[new]), dtype=np.int64).reshape(-1, 2)
        points, pixels = mapped.structure.points[rows[:, 0]], keypoints[new][rows[:, 1]]
        sighted.append(Sighted(torch.from_numpy(points), torch.from_numpy(pixels)))
    return sighted
