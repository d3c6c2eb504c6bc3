"""Pairs compared and kept on disk, and what they say about which photos belong together.

Predictions come as a stream, in batches of one shape, and go to disk pair by pair: a pair is matched under its masks
and written before the next. What is there already, from an interrupted run, is not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.alignment.pointmap_graph.start import CONFIDENT
from rilievo.alignment.spanning_tree import connected_groups
from rilievo.matching.correspondences import Masks, MatchingConfig, match_pair
from rilievo.matching.pair_file import is_sound
from rilievo.matching.pair_result import Correspondences, PairPrediction, PairResult, score_of
from rilievo.matching.pair_store import Filled, PairStore
from rilievo.matching.scene_graph import Pair
from rilievo.pipelines.fine_matching import FineMatcher
from rilievo.pipelines.network_photos import NetworkPhoto, PhotoPredictor, masks_of
from rilievo.pipelines.pair_plan import PairPlan, shapes

MIXED_AT_ONCE = 16
"""Pairs of two shapes that wait in memory for their other half, which another batch answers."""
LEAST_MATCHES = 8
"""Fewer matches than this fix no camera."""
LEAST_SHARE = 0.05
"""Share of a photo that must be recognised from another, by the confidence of its points there."""
STILL_PX = 1.0
"""Matches that move by less did not move."""


@dataclass(frozen=True)
class PredictorSettings:
    """What of a predictor shapes its answers."""

    key: str


class StoredPairs(Mapping[Pair, PairResult]):
    """Some photos' pairs, numbered anew and read from disk when they are asked for."""

    def __init__(self, store: PairStore, pairs: Sequence[Pair], kept: Sequence[int]) -> None:
        """`kept` are the photos' numbers in the store, ascending; pairs with any other are left out."""
        place = {photo: k for k, photo in enumerate(kept)}
        self._store = store
        self._pairs = {(place[i], place[j]): (i, j) for i, j in pairs if i in place and j in place}

    def __getitem__(self, pair: Pair) -> PairResult:
        return self._store.load(*self._pairs[pair])

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


@dataclass(frozen=True)
class Link:
    """What a pair says of its photos' belonging together."""

    pair: Pair
    matches: int
    is_sure: bool
    """Some of its matches, enough in number, are surer than the threshold."""
    is_recognised: bool
    """Each photo's points are confident as seen from the other."""
    still: float
    """Share of the matches, or of what is surely seen in both, that stays where it is in the picture."""


def open_store(folder: Path, plan: PairPlan, predictor: PhotoPredictor, matching: MatchingConfig) -> PairStore:
    """The results of the plan's photos under the predictor's and the matching's settings."""
    settings = [PredictorSettings(predictor.key), matching, *([] if plan.fine is None else [plan.fine])]
    return PairStore(folder, [photo.key() for photo in plan.photos], settings)


def compare(
    store: PairStore,
    plan: PairPlan,
    predictor: PhotoPredictor,
    matching: MatchingConfig,
    on_pair: Callable[[int, int], None] | None = None,
) -> Filled:
    """Have the result of every planned pair in the store; `on_pair(done, total)` is told after each."""
    missing = [pair for pair in plan.pairs if not is_sound(store.path(*pair))]
    finer = None if plan.fine is None else FineMatcher(plan.photos, predictor, matching, plan.fine)
    return store.fill(plan.pairs, _Comparison(plan.photos, missing, predictor, matching, finer), on_pair)


class _Comparison:
    """Results of pairs as they are asked for, made of predictions as they come."""

    def __init__(
        self,
        photos: Sequence[NetworkPhoto],
        pairs: Sequence[Pair],
        predictor: PhotoPredictor,
        matching: MatchingConfig,
        finer: FineMatcher | None,
    ) -> None:
        self.masks, self.matching, self.finer = masks_of(photos), matching, finer
        self.coming = predicted(photos, pairs, predictor)
        self.ready: dict[Pair, tuple[PairPrediction, PairPrediction]] = {}

    def __call__(self, i: int, j: int) -> PairResult:
        while (i, j) not in self.ready:
            coming = next(self.coming, None)
            assert coming is not None, "a predictor answers for every pair"
            pair, ij, ji = coming
            self.ready[pair] = ij, ji
        ij, ji = self.ready.pop((i, j))
        matches = matched(ij, ji, (self._masks(i), self._masks(j)), self.matching)
        if self.finer is not None:
            matches = self.finer(i, j, matches)
        return PairResult(ij, ji, matches, score_of(ij, ji, matches, (self._masks(i), self._masks(j))))

    def _masks(self, i: int) -> Bool[Tensor, "_h _w"] | None:
        return None if self.masks is None else self.masks[i]


def predicted(
    photos: Sequence[NetworkPhoto], pairs: Iterable[Pair], predictor: PhotoPredictor
) -> Iterator[tuple[Pair, PairPrediction, PairPrediction]]:
    """Each pair (i, j), i < j, with its two ordered predictions (i, j) and (j, i)."""
    pictures = [photo.prepared for photo in photos]
    for alike in _batchable(photos, pairs):
        waiting: dict[Pair, PairPrediction] = {}
        for (a, b), prediction in predictor.predict(pictures, [order for i, j in alike for order in ((i, j), (j, i))]):
            other = waiting.pop((b, a), None)
            if other is None:
                waiting[a, b] = prediction
            elif a < b:
                yield (a, b), prediction, other
            else:
                yield (b, a), other, prediction


def _batchable(photos: Sequence[NetworkPhoto], pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Runs of pairs of the same two shapes; where the shapes differ, few at a time."""
    for (first, second), run in groupby(pairs, key=lambda pair: shapes(photos, pair)):
        alike = list(run)
        most = len(alike) if first == second else MIXED_AT_ONCE
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


def matched(ij: PairPrediction, ji: PairPrediction, masks: Masks, matching: MatchingConfig) -> Correspondences:
    """A pair's matches under its masks; none where the predictor has no descriptors."""
    if ij.descriptors_1 and ij.descriptors_2 and ji.descriptors_1 and ji.descriptors_2:
        return match_pair((ij.descriptors_1, ij.descriptors_2), (ji.descriptors_1, ji.descriptors_2), matching, masks)
    return Correspondences.none(ij.C_1)


def links(store: PairStore, plan: PairPlan, threshold: float) -> list[Link]:
    """What every planned pair says; a match is sure above `threshold`."""
    masks = masks_of(plan.photos)
    return [
        _link((i, j), result, threshold, None if masks is None else (masks[i], masks[j]))
        for (i, j), result in store.load_all(plan.pairs)
    ]


def _link(pair: Pair, result: PairResult, threshold: float, masks: tuple[Tensor, Tensor] | None) -> Link:
    matches = result.correspondences
    sure = len(matches) >= LEAST_MATCHES and bool((matches.confidence > threshold).any())
    seen = (result.ji.C_2, result.ij.C_2)  # of photo i from j, of photo j from i
    recognised = min(_share(C, None if masks is None else masks[k]) for k, C in enumerate(seen)) >= LEAST_SHARE
    return Link(pair, len(matches), sure, recognised, _still(matches) if len(matches) else still_share(result.ij))


def _still(matches: Correspondences) -> float:
    moved = torch.linalg.vector_norm(matches.xy_i - matches.xy_j, dim=-1)
    return float((moved < STILL_PX).double().mean())


def still_share(said: PairPrediction) -> float:
    """The same by pointmaps: of the pixels that both photos have, the share whose points the first photo sees, to the
    pixel, where the second does."""
    if said.X_1.shape != said.X_2.shape:
        return 0.0
    own, other = (X[..., :2] / X[..., 2:].clamp_min(1e-6) for X in (said.X_1, said.X_2))
    pitch = torch.linalg.vector_norm(own[:, 1:] - own[:, :-1], dim=-1).median()
    known = (said.C_1 > CONFIDENT) & (said.C_2 > CONFIDENT)
    near = torch.linalg.vector_norm(own - other, dim=-1) < STILL_PX * pitch
    return float(near[known].double().mean()) if bool(known.any()) else 0.0


def _share(C: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"] | None) -> float:
    sure = C > CONFIDENT if mask is None else C[mask] > CONFIDENT
    return float(sure.double().mean()) if sure.numel() else 0.0


def joined(told: Sequence[Link], photos: int, *, by_matches: bool) -> tuple[list[int], list[Pair]]:
    """The largest group of photos that pairs join, ascending, and these pairs.

    `by_matches` asks for matches, sure ones or confident points beside them; else confident points alone will do.
    """
    holding = [
        link.pair
        for link in told
        if (link.is_recognised or link.is_sure) and (not by_matches or link.matches >= LEAST_MATCHES)
    ]
    together = np.zeros((photos, photos))
    for i, j in holding:
        together[i, j] = together[j, i] = 1
    kept = sorted(connected_groups(together)[0])
    members = set(kept)
    return kept, [pair for pair in holding if set(pair) <= members]
