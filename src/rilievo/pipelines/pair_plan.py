"""Which pairs of photos will be compared, and what that will take: known, and told, before it is begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.data.scene import Dropped
from rilievo.errors import UserError, clear
from rilievo.matching.correspondences import MatchingConfig
from rilievo.matching.pair_budget import PairBudget, estimate
from rilievo.matching.retrieval import pooled_tokens, similarity, thumbnail
from rilievo.matching.scene_graph import Pair, make_pairs, unordered
from rilievo.pipelines.fine_matching import FineMatching
from rilievo.pipelines.network_photos import NetworkPhoto, PhotoPredictor, prepare_photos
from rilievo.pointmaps.patches import Views
from rilievo.pointmaps.photo import normalized
from rilievo.pointmaps.predictor import NetworkPredictor
from rilievo.sfm.photos import PhotoSet

COMPLETE_UP_TO = 20
"""Photos that are all compared with each other where nothing else is asked for."""
RETRIEVAL = "retrieval-20-10"
"""Twenty anchors and nine neighbours each, as published for unordered collections."""

PROGRAM_BYTES = 256 << 20
"""Compiled kernels, optimisers and solvers, which are loaded when they are first used."""
KEPT_FLOATS = 12
"""Numbers per pixel that the sparse aligner keeps of each photo: canonical view, dense geometry, cleaned confidence."""
PASSING_FLOATS = 64
"""Numbers per pixel of one photo while it is averaged or cleaned."""
MATCH_BYTES = 320
"""Two sightings and a match, gathered pair by pair and then joined, and what the solver makes of them."""
EDGE_FLOATS = 4 * 20
"""Numbers per pixel of a pair in a pointmap graph: four pointmaps with votes and weights, stacked, in double precision
while they are registered."""


@dataclass(frozen=True)
class PairPlan:
    """Photos, the pairs of them to be compared (i < j), and upper bounds of what that takes."""

    photos: tuple[NetworkPhoto, ...]
    pairs: tuple[Pair, ...]
    graph: str
    budget: PairBudget
    dropped: tuple[Dropped, ...] = ()
    fine: FineMatching | None = None
    """Whether, and how, pairs are matched again in larger pictures."""

    def __str__(self) -> str:
        return f"graph {self.graph}; {self.budget}"


def plan_pairs(
    found: PhotoSet,
    predictor: PhotoPredictor,
    graph: str,
    matching: MatchingConfig,
    *,
    dense_graph: bool,
    fine: FineMatching | None = None,
) -> PairPlan:
    """The plan for all photos of `found` that the predictor can look at.

    `graph` is one of `scene_graph`'s, or "auto" or "retrieval" for its usual numbers; `dense_graph` says that pairs
    will all be in memory while they are aligned (DUSt3R). Raises `UserError` for an unknown graph, or fewer than two
    photos.
    """
    photos, dropped = prepare_photos(found.photos, predictor.prepare)
    if len(photos) < 2:
        why = f"; {dropped[0].name}: {dropped[0].reason}" if dropped else ""
        raise clear("photos", expected="at least two that can be used", got=f"{len(photos)}{why}", do="add photos")
    name = graph_name(graph, len(photos))
    alike = similarity(global_descriptors(photos, predictor)) if name.startswith("retrieval") else None
    pairs = _streamed(photos, unordered(make_pairs(len(photos), name, symmetrise=False, similarity=alike)))
    takes = budget(photos, len(pairs), predictor, matching, dense_graph)
    if fine is not None:  # a pair of crops, beside the pair of pictures
        takes = replace(takes, peak_memory_bytes=2 * takes.peak_memory_bytes + fine.memory_bytes)
    return PairPlan(tuple(photos), tuple(pairs), name, takes, tuple(dropped), fine)


def graph_name(asked: str, photos: int) -> str:
    """The scene graph that is meant, with its numbers."""
    if asked == "auto":
        asked = "complete" if photos <= COMPLETE_UP_TO else "retrieval"
    return RETRIEVAL if asked == "retrieval" else asked


def global_descriptors(photos: Sequence[NetworkPhoto], predictor: PhotoPredictor) -> Float[Tensor, "n d"]:
    """What photos look like as a whole: the mean of a network's tokens, less what all photos have in common; of other
    predictors' photos a thumbnail.
    """
    if not isinstance(predictor, NetworkPredictor):
        return torch.stack([thumbnail(p.prepared.pixels, None if p.mask is None else p.mask.numpy()) for p in photos])
    told = torch.stack([_tokens(photo, predictor) for photo in photos])
    return told - told.mean(dim=0)


@torch.no_grad()
def _tokens(photo: NetworkPhoto, predictor: NetworkPredictor) -> Float[Tensor, "d"]:
    pixels = torch.from_numpy(photo.prepared.pixels)[None].to(predictor.device)
    tokens = predictor.network.encode(Views.upright(normalized(pixels))).tokens[0]
    if photo.mask is None:
        return pooled_tokens(tokens).cpu()
    patch = predictor.network.config.patch_px
    share = torch.nn.functional.avg_pool2d(photo.mask.float()[None], patch)[0]
    return pooled_tokens(tokens, (share > 0.5).flatten().to(tokens.device)).cpu()


def budget(
    photos: Sequence[NetworkPhoto], pairs: int, predictor: PhotoPredictor, matching: MatchingConfig, dense_graph: bool
) -> PairBudget:
    """What comparing and aligning takes at most: the larger of both, since one follows the other."""
    size = max((photo.size_hw for photo in photos), key=lambda size: size[0] * size[1])
    pixels = size[0] * size[1]
    own = network_bytes(predictor, len(photos), size) if isinstance(predictor, NetworkPredictor) else 0
    comparing = estimate(len(photos), pairs, size, step=matching.step, predictor_bytes=own)
    matches = min(4 * ceil(size[0] / matching.step) * ceil(size[1] / matching.step), 2 * pixels)
    if dense_graph:
        aligning = pairs * pixels * EDGE_FLOATS * 4
    else:
        aligning = (len(photos) * KEPT_FLOATS + PASSING_FLOATS) * pixels * 4 + pairs * matches * MATCH_BYTES
    held = len(photos) * pixels * 4
    peak = max(comparing.peak_memory_bytes, own + held + aligning)
    return replace(comparing, peak_memory_bytes=peak + PROGRAM_BYTES)


def network_bytes(predictor: NetworkPredictor, photos: int, size_hw: tuple[int, int]) -> int:
    """A bound on what a network holds: its weights, remembered tokens, and the activations of one batch."""
    config = predictor.network.config
    weights = sum(p.numel() * p.element_size() for p in predictor.network.parameters())
    pixels = size_hw[0] * size_hw[1]
    tokens = pixels // config.patch_px**2
    encoder, decoder = config.encoder.channels, config.decoder.channels
    remembered = (min(photos, predictor.photos_remembered) + 2 * predictor.batch_size) * tokens * encoder * 4
    widest = 8 * encoder + 2 * (config.decoder.depth + 8) * decoder + 8 * (encoder + decoder)
    head = 3 * config.dpt.channels * pixels
    return weights + remembered + predictor.batch_size * 4 * (tokens * widest + head)


def _streamed(photos: Sequence[NetworkPhoto], pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs of photos of the same two shapes after one another, otherwise in their order: so they can be batched."""
    return sorted(pairs, key=lambda pair: shapes(photos, pair))


def shapes(photos: Sequence[NetworkPhoto], pair: Pair) -> tuple[tuple[int, int], tuple[int, int]]:
    """The shapes of a pair's photos, the same whichever comes first."""
    first, second = sorted(photos[k].size_hw for k in pair)
    return first, second


def require_descriptors(predictor: PhotoPredictor, origin: str) -> None:
    """Raise `UserError` where a predictor gives nothing to match by."""
    if not predictor.has_descriptors:
        raise UserError(
            f"weights {origin}: expected MASt3R's, which give descriptors to match by, got a network without them "
            "(DUSt3R's); say --method dust3r, or give MASt3R's weights"
        )
