"""Photos in, a scene folder out: features, matches, poses, and the bundle adjustment that decides about the lens.

Everything on the way lies in `SCENE/.align`, under the content of the photos and the settings, so that the same command
goes on where it was stopped. The scene itself appears at the end, `transforms.json` last.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from rilievo.data.scene import Dropped
from rilievo.errors import clear
from rilievo.io.atomic import unwritable
from rilievo.sfm.bundle import Adjusted, Tracks, adjust
from rilievo.sfm.features import (
    FeatureSettings,
    extract,
    match,
    open_database,
    pairs_of,
    read_keypoints,
    read_matches,
    stored_name,
)
from rilievo.sfm.lens import CAMERA, PARAMETERS, PINHOLE, Belief, belief
from rilievo.sfm.mapping import Mapped, map_photos, triangulate
from rilievo.sfm.photos import PhotoSet
from rilievo.sfm.scene_folder import write_scene

WORK = ".align"
FEWEST_OBSERVATIONS = 12
"""A pose has six unknowns; with fewer points than this, chance decides some of them."""

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
    groups, beliefs = lens_groups(found, known.lens, PINHOLE if settings.turntable else CAMERA)
    names = [stored_name(i, photo) for i, photo in enumerate(found.photos)]
    pairs = pairs_of(len(names), found.is_sequence, settings.features.pairs)
    progress(extract(database, found, groups, beliefs, settings.features, settings.threads), len(names), "features")
    progress(match(database, names, pairs, settings.threads), len(pairs), "matches")
    if known.cam_from_world is not None:
        poses = np.stack([known.cam_from_world[photo.name] for photo in found.photos])
        mapped = triangulate(database, names, groups, beliefs, poses)
    else:
        mapped = map_photos(database, names, groups, beliefs, settings.mapper)
    matches = read_matches(database, names, pairs)
    if mapped is None or len(mapped.views) < 2:
        raise no_overlap(found, [(m.first, m.second, len(m.features)) for m in matches])
    aligned = _adjusted(mapped, beliefs, found)
    degree = np.zeros(len(names), dtype=np.int64)
    for m in matches:
        degree[[m.first, m.second]] += 1
    features = [len(k) for k in read_keypoints(database, names)]
    dropped = tuple(
        Dropped(photo.name, _why_dropped(features[i], int(degree[i]), mapped))
        for i, photo in enumerate(found.photos)
        if i not in aligned.views
    )
    aligned = replace(aligned, dropped=found.dropped + dropped)
    write_scene(found, aligned.views, aligned.adjusted.structure, aligned.tracks, out, work / "scene")
    shutil.rmtree(work, ignore_errors=True)
    return aligned


def lens_groups(found: PhotoSet, known: Belief | None, spread: object) -> tuple[list[int], list[Belief]]:
    """The group of each photo and what is believed of each group's lens."""
    order = list(dict.fromkeys(photo.lens for photo in found.photos))
    groups = [order.index(photo.lens) for photo in found.photos]
    beliefs = []
    for group in range(len(order)):
        members = [photo for photo, g in zip(found.photos, groups) if g == group]
        focals = [photo.focal_px for photo in members if photo.focal_px is not None]
        focal = float(np.median(focals)) if focals else None
        beliefs.append(known or belief(members[0].size_px, focal, spread))
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


def _why_dropped(features: int, degree: int, mapped: Mapped) -> str:
    if features < FEWEST_OBSERVATIONS:
        return f"only {features} features were found on it (blurred, plain or masked away)"
    if degree == 0:
        return "it matches no other photo"
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


def observation_counts(tracks: Tracks, count: int) -> Int64[np.ndarray, "n"]:
    """How many points each view sees."""
    return np.bincount(tracks.view, minlength=count)


def _exhaust(steps: Iterator[int]) -> None:
    for _ in steps:
        pass
