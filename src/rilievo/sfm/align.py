"""Photos in, a scene folder out: features, matches, poses, and the bundle adjustment that decides about the lens.

Everything on the way lies in `SCENE/.align`, under the content of the photos and the settings, so that the same command
goes on where it was stopped. The scene itself appears at the end, `transforms.json` last.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from rilievo.data.scene import Dropped
from rilievo.errors import clear
from rilievo.io.atomic import unwritable
from rilievo.sfm.agreement import explained
from rilievo.sfm.bundle import Adjusted, Tracks, adjust
from rilievo.sfm.features import (
    FeatureSettings,
    Matches,
    extract,
    match,
    open_database,
    pairs_of,
    read_keypoints,
    read_matches,
    stored_name,
)
from rilievo.sfm.lens import PARAMETERS, Belief, belief
from rilievo.sfm.mapping import Mapped, map_photos, triangulate
from rilievo.sfm.photos import PhotoSet
from rilievo.sfm.scene_folder import write_scene
from rilievo.sfm.standing_camera import leave_out_still_matches
from rilievo.sfm.stillness import background_stands_still, motion_warnings, share_of_still_matches
from rilievo.sfm.tracks import join
from rilievo.sfm.turntable import SPREAD, Turned, moving_matches, solve_turntable

WORK = ".align"
FEWEST_FEATURES = 30
"""On a photo; with fewer there is nothing to match."""
LEAST_ROOM = 1 << 20
"""Bytes: with less, a failing database failed for want of room."""

AS_MUCH, AS_WELL = 0.97, 1.3
"""A circle that explains this share of what free poses explain, with at most so many times their noise, does as well:
free poses follow wrong matches, and errors that are common to a photo, too."""

Progress = Callable[[Iterator[int], int, str], None]


@dataclass(frozen=True)
class AlignSettings:
    """How to align."""

    features: FeatureSettings = field(default_factory=FeatureSettings)
    mapper: str = "incremental"
    turntable: bool = False
    threads: int = 2


@dataclass(frozen=True)
class Known:
    """What need not be found."""

    lens: Belief | None = None
    cam_from_world: dict[str, Float64[np.ndarray, "4 4"]] | None = None
    """By photo name; then every photo must be in it, and points are triangulated only."""


@dataclass(frozen=True)
class Aligned:
    """What was found: photo numbers, their adjusted structure, the rest with reasons, and sentences for the user."""

    views: tuple[int, ...]
    adjusted: Adjusted
    tracks: Tracks
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]


def align(
    found: PhotoSet, out: Path, settings: AlignSettings, known: Known = Known(), progress: Progress | None = None
) -> Aligned:
    """Align `found` and write the scene folder `out`, which may hold the work of an interrupted run.

    Raises `UserError` when the photos do not overlap, or the place cannot be written.
    """
    progress = progress or (lambda steps, total, label: _exhaust(steps))
    work = out / WORK
    try:
        work.mkdir(parents=True, exist_ok=True)
        database = open_database(work, found, settings.features)
    except OSError as error:
        raise unwritable(out, error) from error
    groups, beliefs = lens_groups(found, known.lens)
    names = [stored_name(i, photo) for i, photo in enumerate(found.photos)]
    pairs = pairs_of(len(names), found.is_sequence, settings.features.pairs)
    try:
        progress(extract(database, found, groups, beliefs, settings.features, settings.threads), len(names), "features")
        progress(match(database, names, pairs, settings.threads), len(pairs), "matches")
    except RuntimeError as error:  # COLMAP's word for whatever its database met
        if shutil.disk_usage(work).free > LEAST_ROOM:
            raise
        raise unwritable(out, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
    keypoints, matches = read_keypoints(database, names), read_matches(database, names, pairs)
    still_share = leave_out_still_matches(database, names, pairs, keypoints, matches)
    if still_share is not None:
        matches = read_matches(database, names, pairs)
    stands_still = background_stands_still(found.photos)
    mapped: Mapped | None = None
    if known.cam_from_world is not None:
        poses = np.stack([known.cam_from_world[photo.name] for photo in found.photos])
        mapped = triangulate(database, names, groups, beliefs, poses)
    elif not settings.turntable:
        mapped = map_photos(database, names, groups, beliefs, settings.mapper)
    aligned = free = None if mapped is None else _adjusted(mapped, beliefs, found)
    if known.cam_from_world is None and (settings.turntable or stands_still or still_share or _lacks(free, found)):
        aligned = _simpler(free, _turned(keypoints, matches, found, known, settings.turntable), keypoints, matches)
    if aligned is None or len(aligned.views) < 2:
        if settings.turntable and matches:
            raise clear(
                "--turntable",
                expected="an object that turned about one axis before a camera that stood still",
                got="photos whose matches no such motion explains",
                do="give --masks DIR if the background is in the way, or leave --turntable out",
            )
        if found.has_masks and max(map(len, keypoints)) < FEWEST_FEATURES:
            raise clear(
                "masks",
                expected="textured things on them",
                got=f"at most {max(map(len, keypoints))} features on a photo",
                do="check that they are white on the object, or leave them out",
            )
        raise no_overlap(found, [(m.first, m.second, len(m.features)) for m in matches])
    degree = np.bincount([view for m in matches for view in (m.first, m.second)], minlength=len(names))
    dropped = tuple(
        Dropped(photo.name, _why_dropped(len(keypoints[i]), int(degree[i]), aligned is not free))
        for i, photo in enumerate(found.photos)
        if i not in aligned.views
    )
    notes = list(aligned.notes)
    if still_share is not None:
        notes.append(
            f"{100 * still_share:.0f} % of the matches between neighbouring photos did not move and were left out: "
            "these are the cameras around what moved"
        )
    elif aligned is free:
        notes += motion_warnings(found, stands_still, share_of_still_matches(keypoints, matches))
    aligned = replace(aligned, dropped=found.dropped + dropped, notes=tuple(notes))
    write_scene(found, aligned.views, aligned.adjusted.structure, aligned.tracks, out, work / "scene")
    shutil.rmtree(work, ignore_errors=True)
    return aligned


def lens_groups(found: PhotoSet, known: Belief | None) -> tuple[list[int], list[Belief]]:
    """The group of each photo and what is believed of each group's lens."""
    order = list(dict.fromkeys(photo.lens for photo in found.photos))
    groups = [order.index(photo.lens) for photo in found.photos]
    beliefs = []
    for group in range(len(order)):
        members = [photo for photo, g in zip(found.photos, groups) if g == group]
        focals = [photo.focal_px for photo in members if photo.focal_px is not None]
        focal = float(np.median(focals)) if focals else None
        beliefs.append(known or belief(members[0].size_px, focal))
    return groups, beliefs


def _adjusted(mapped: Mapped, beliefs: Sequence[Belief], found: PhotoSet) -> Aligned:
    """The bundle adjustment, twice: the second time without what the first one found to be wrong."""
    tracks, structure = mapped.tracks, mapped.structure
    for group, b in enumerate(beliefs):
        fixed = b.deviation == 0
        structure.lenses[group][fixed] = b.mean[fixed]
    adjusted = adjust(structure, tracks, beliefs)
    tracks = tracks.where(_trusted(adjusted, tracks))
    adjusted = adjust(adjusted.structure, tracks, beliefs)
    notes = [f"{mapped.how}; reprojection noise {adjusted.noise_px:.2f} px"]
    notes += [_lens_note(adjusted, beliefs, g, found, mapped) for g in sorted(set(adjusted.structure.group.tolist()))]
    if mapped.others:
        notes.append(f"{len(mapped.others)} further groups of photos share too little with the rest: {mapped.others}")
    return Aligned(mapped.views, adjusted, tracks, (), tuple(notes))


def _lacks(free: Aligned | None, found: PhotoSet) -> bool:
    """Masked photos were left out: on a plain background nothing tells whether the camera stood, so it may have."""
    return found.has_masks and (free is None or len(free.views) < len(found.photos))


def _simpler(
    free: Aligned | None, turned: Aligned | None, keypoints: Sequence[np.ndarray], matches: Sequence[Matches]
) -> Aligned | None:
    """The circle where it explains as much and as well as free poses do, since it has a sixth of their parameters."""
    if free is None or turned is None:
        return free or turned
    tracks = join(keypoints, moving_matches(keypoints, matches))
    by_turn, by_free = (explained(a.adjusted.structure, a.views, tracks).sum() for a in (turned, free))
    as_well = turned.adjusted.noise_px < AS_WELL * free.adjusted.noise_px
    return turned if as_well and by_turn > AS_MUCH * by_free else free


def _turned(
    keypoints: Sequence[np.ndarray], matches: Sequence[Matches], found: PhotoSet, known: Known, asked: bool
) -> Aligned | None:
    """The photos on a turntable's circle, None where the matches fit none.

    Raises `UserError` for several sizes where a turntable was `asked` for.
    """
    sizes = {photo.size_px for photo in found.photos}
    if len(sizes) > 1:
        if not asked:
            return None
        raise clear("--turntable", expected="photos of one size", got=f"{len(sizes)} sizes", do="leave the others out")
    focals = [photo.focal_px for photo in found.photos if photo.focal_px is not None]
    size = next(iter(sizes))
    lens = known.lens or belief(size, float(np.median(focals)) if focals else None, SPREAD)
    turned = solve_turntable(keypoints, matches, lens, size)
    if turned is None:
        return None
    angles = np.rad2deg(np.unwrap(turned.motion.angles))
    steps = np.abs(np.diff(angles))
    placed, adjusted, tracks = _without(turned)
    mapped = Mapped(placed, adjusted.structure, tracks, "turntable")
    notes = [
        f"turntable: steps of {np.median(steps):.2f} degrees (from {steps.min():.2f} to {steps.max():.2f}); "
        f"reprojection noise {adjusted.noise_px:.2f} px",
        _lens_note(adjusted, [lens], 0, found, mapped),
    ]
    if turned.guessed:
        guessed = ", ".join(found.photos[i].name for i in turned.guessed)
        notes.append(f"matched too little, placed by equal steps between their neighbours: {guessed}")
    return Aligned(placed, adjusted, tracks, (), tuple(notes))


def _without(turned: Turned) -> tuple[tuple[int, ...], Adjusted, Tracks]:
    """The photos that the circle explains, their structure and their observations."""
    count = len(turned.motion.angles)
    placed = np.array([k for k in range(count) if k not in turned.missed])
    place = np.full(count, -1)
    place[placed] = np.arange(len(placed))
    structure = turned.adjusted.structure
    motion = replace(turned.motion, angles=turned.motion.angles[placed])
    structure = replace(structure, motion=motion, group=structure.group[placed])
    kept = turned.tracks.where(place[turned.tracks.view] >= 0)
    tracks = Tracks(place[kept.view], kept.point, kept.xy)
    return tuple(placed.tolist()), replace(turned.adjusted, structure=structure), tracks


def _trusted(adjusted: Adjusted, tracks: Tracks) -> np.ndarray:
    """Observations within reach of the noise, in front of their cameras, of points that keep at least two of them."""
    length = np.linalg.norm(adjusted.structure.residuals(tracks), axis=1)
    good = (length < max(8 * adjusted.noise_px, 1.0)) & (adjusted.structure.depths(tracks) > 0)
    kept = np.bincount(tracks.point[good], minlength=len(adjusted.structure.points))
    return good & (kept[tracks.point] >= 2)


def _lens_note(adjusted: Adjusted, beliefs: Sequence[Belief], g: int, found: PhotoSet, mapped: Mapped) -> str:
    theta, sure = adjusted.structure.lenses[g], adjusted.deviation[g]
    count = int((adjusted.structure.group == g).sum())
    size = next(found.photos[i].size_px for i, k in zip(mapped.views, adjusted.structure.group) if k == g)
    told = [f"lens of {count} photos: focal {theta[0]:.1f} ± {sure[0]:.1f} px"]
    if beliefs[g].deviation[2] > 0:
        dx, dy = theta[2] - size[0] / 2, theta[3] - size[1] / 2
        told.append(f"principal point ({dx:+.1f} ± {sure[2]:.1f}, {dy:+.1f} ± {sure[3]:.1f}) px off centre")
    if beliefs[g].deviation[4] > 0:
        told.append(f"k1 {theta[PARAMETERS.index('k1')]:+.4f} ± {sure[4]:.4f}")
    return ", ".join(told)


def _why_dropped(features: int, degree: int, circle: bool) -> str:
    if features < FEWEST_FEATURES:
        return f"only {features} features were found on it (blurred, plain or masked away)"
    if degree == 0:
        return "it matches no other photo"
    if circle:
        return f"it matches {degree} photos, but not as a turn about the others' axis would have it"
    return f"it matches {degree} photos, but too little of what they see together was reconstructed"


def no_overlap(found: PhotoSet, matched: Sequence[tuple[int, int, int]]) -> Exception:
    """The sentence for photos that give no reconstruction."""
    best = max(matched, key=lambda m: m[2], default=None)
    if best is None:
        got = "no two that match"
    else:
        a, b = found.photos[best[0]].name, found.photos[best[1]].name
        got = f"none that fix a position (most matches: {best[2]}, between {a} and {b})"
    return clear(
        "photos",
        expected="pictures of the same things from different places",
        got=got,
        do="take them closer together, overlapping by two thirds, and move between them instead of turning in place",
    )


def _exhaust(steps: Iterator[int]) -> None:
    for _ in steps:
        pass
