"""Photographs to a scene through pointmaps: MASt3R's sparse alignment, or DUSt3R's pointmap graph, under masks.

    plan = plan_alignment(found, predictor, settings)      # which pairs, and what they will take
    aligned = align(plan, found, predictor, out, settings)

Pairs are kept in `SCENE/.align` under their content and settings, so that the same command goes on where it was
stopped, and an edited photo costs its own pairs alone. The scene appears at the end, `transforms.json` last.

What a mask hides never votes: it has no matches, no confidence, no part in canonical views, focal lengths, anchors,
losses, depth and points.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from rilievo.alignment.config import SparseConfig
from rilievo.alignment.pointmap_graph.align import PointmapGraphConfig
from rilievo.data.scene import Dropped
from rilievo.errors import clear
from rilievo.io.atomic import unwritable
from rilievo.matching.correspondences import MatchingConfig
from rilievo.pipelines.fine_matching import FineMatching
from rilievo.pipelines.network_photos import NetworkPhoto, PhotoPredictor
from rilievo.pipelines.pair_plan import PairPlan, plan_pairs
from rilievo.pipelines.pair_results import Link, StoredPairs, compare, joined, links, open_store
from rilievo.pipelines.pointmap_exports import Exports
from rilievo.pipelines.pointmap_folder import write_scene
from rilievo.pipelines.pointmap_views import (
    PointmapViews,
    align_by_matches,
    align_by_pointmaps,
    pinhole_of,
    sparse_config,
)
from rilievo.sfm.align import WORK, Known, no_overlap
from rilievo.sfm.photos import PhotoSet
from rilievo.sfm.stillness import background_stands_still, motion_warnings

Progress = Callable[[str, int, int], None]
"""(what is done, how many of it are, of how many)"""


@dataclass(frozen=True)
class PointmapSettings:
    """How to align through pointmaps."""

    method: Literal["mast3r", "dust3r"] = "mast3r"
    graph: str = "auto"
    """A scene graph (see `matching.scene_graph`), "retrieval", or "auto"."""
    turntable: bool = False
    fine: FineMatching | None = None
    """Match again in larger pictures than the network's; of MASt3R alone."""
    exports: Exports = field(default_factory=Exports)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    sparse: SparseConfig = field(default_factory=SparseConfig)
    pointmaps: PointmapGraphConfig = field(default_factory=PointmapGraphConfig)

    @property
    def by_matches(self) -> bool:
        return self.method == "mast3r"


@dataclass(frozen=True)
class PointmapAligned:
    """What was found: the photos in it, their views, and sentences for the user."""

    photos: tuple[NetworkPhoto, ...]
    views: PointmapViews
    points: int
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]


def plan_alignment(found: PhotoSet, predictor: PhotoPredictor, settings: PointmapSettings) -> PairPlan:
    """What will be compared, and what that takes at most. Raises `UserError` as `plan_pairs`."""
    return plan_pairs(
        found, predictor, settings.graph, settings.matching, dense_graph=not settings.by_matches, fine=settings.fine
    )


def align(
    plan: PairPlan,
    found: PhotoSet,
    predictor: PhotoPredictor,
    out: Path,
    settings: PointmapSettings,
    known: Known | None = None,
    progress: Progress | None = None,
) -> PointmapAligned:
    """Align the planned photos and write the scene folder `out`, which may hold the work of an interrupted run.

    Photos that nothing joins to the others are left out with a reason. Raises `UserError` when no two photos belong
    together, masks hide everything, a known lens is no pinhole, or the place has no room or cannot be written.
    """
    tell = progress or (lambda label, done, total: None)
    known = Known() if known is None else known
    K, work = pinhole_of(known.lens), out / WORK
    _check_masks(plan.photos)
    store = open_store(work / "pairs", plan, predictor, settings.matching)
    stored = sum(path.stat().st_size for pair in plan.pairs if (path := store.path(*pair)).is_file())
    plan.budget.require_room(work, stored)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from error
    filled = compare(store, plan, predictor, settings.matching, lambda done, total: tell("pairs", done, total))
    told = links(store, plan, settings.sparse.matching_confidence)
    kept, pairs = joined(told, len(plan.photos), by_matches=settings.by_matches)
    if len(kept) < 2:
        raise no_overlap(found, _most_matches(told, plan, found))
    photos = [plan.photos[k] for k in kept]
    chosen = StoredPairs(store, pairs, kept)
    if settings.by_matches:
        config = sparse_config(photos, settings.sparse, on_turntable=settings.turntable)
        config = replace(config, shared_intrinsics=config.shared_intrinsics and known.lens is None)
        views = align_by_matches(photos, chosen, config, known, lambda name, k, n, loss: tell(f"{name} stage", k, n))
    else:
        views = align_by_pointmaps(photos, chosen, settings.pointmaps, known, lambda name, k, n, loss: tell(name, k, n))
    points, said = write_scene(photos, views, found.mask_meaning, K, out, work / "scene", settings.exports)
    shutil.rmtree(work, ignore_errors=True)
    notes = [str(filled), *_pair_notes(told, pairs), *_lens_notes(photos, views), *said]
    if not settings.turntable:
        still = [link.still for link in told if link.pair[1] == link.pair[0] + 1]
        notes += motion_warnings(found, background_stands_still(found.photos), still)
    return PointmapAligned(
        tuple(photos), views, points, found.dropped + plan.dropped + _left_out(plan, kept, told), tuple(notes)
    )


def _check_masks(photos: Sequence[NetworkPhoto]) -> None:
    if all(photo.is_hidden for photo in photos):
        raise clear(
            "masks",
            expected="white on the object in some photo",
            got="nothing but background in all of them",
            do="check that object and background are not exchanged",
        )


def _most_matches(told: Sequence[Link], plan: PairPlan, found: PhotoSet) -> list[tuple[int, int, int]]:
    """Matches by numbers of `found`, as `no_overlap` names them."""
    place = {photo.name: k for k, photo in enumerate(found.photos)}
    number = [place[photo.photo.name] for photo in plan.photos]
    return [(number[link.pair[0]], number[link.pair[1]], link.matches) for link in told if link.matches]


def _left_out(plan: PairPlan, kept: Sequence[int], told: Sequence[Link]) -> tuple[Dropped, ...]:
    """The planned photos that were not aligned."""
    most = np.zeros(len(plan.photos), dtype=int)
    for link in told:
        for k in link.pair:
            most[k] = max(most[k], link.matches)
    reasons = []
    for k, photo in enumerate(plan.photos):
        if k in kept:
            continue
        reason = "nothing surely joins it to the others"
        if photo.is_hidden:
            reason = "its mask leaves nothing of it"
        elif most[k]:
            reason += f" (at most {most[k]} matches, none of them sure enough)"
        reasons.append(Dropped(photo.photo.name, reason))
    return tuple(reasons)


def _pair_notes(told: Sequence[Link], pairs: Sequence[tuple[int, int]]) -> list[str]:
    used = set(pairs)
    unsure = sum(link.pair in used and not link.is_sure for link in told)
    return [f"{len(used)} of {len(told)} pairs overlap" + (f", {unsure} of them by pointmaps alone" if unsure else "")]


def _lens_notes(photos: Sequence[NetworkPhoto], views: PointmapViews) -> list[str]:
    """Focal lengths in px of the photos."""
    focals = np.array([(p.prepared.photo_from_input[0, 0] * K[0, 0]).item() for p, K in zip(photos, views.K)])
    if np.ptp(focals) < 1e-3 * focals.mean():
        return [f"focal length {focals.mean():.1f} px"]
    return [f"focal lengths from {focals.min():.1f} to {focals.max():.1f} px, median {np.median(focals):.1f} px"]
