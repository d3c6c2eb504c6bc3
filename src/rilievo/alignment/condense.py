"""From pair results to a problem: canonical views, focal lengths, matches hung on anchors, the tree.

Pairs are looked up one at a time and let go again, so memory grows with photos and matches alone.

Masks act here, once for all that follows: a match counts if both its ends are on the object; canonical views, focal
lengths and anchors are the foreground's; what regression draws on are matched pixels of the foreground too. What lies
outside does not vote, whether it is known to be empty or to be ignored: the two meanings of masks part ways only where
surfaces are fused (`tsdf`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.alignment.anchors import Hung, core_depths, hang, nearest_pixels
from rilievo.alignment.canonical import CanonicalAverage, CanonicalView
from rilievo.alignment.config import SparseConfig
from rilievo.alignment.focal import bounded_focal
from rilievo.alignment.known import KnownView
from rilievo.alignment.problem import Fixed, Matches, Problem, Regression, Sightings, median_depths
from rilievo.alignment.spanning_tree import kinematic_tree
from rilievo.errors import clear
from rilievo.matching.pair_result import Correspondences, PairPrediction, PairResult

Pairs = Mapping[tuple[int, int], PairResult]
"""By (i, j) with i < j."""
Masks = Sequence[Bool[Tensor, "h w"]]


@dataclass(frozen=True)
class Condensed:
    """A problem, and the canonical views from which it was made."""

    problem: Problem
    views: tuple[CanonicalView, ...]


def condense(
    pairs: Pairs,
    sizes_hw: Sequence[tuple[int, int]],
    config: SparseConfig,
    masks: Masks | None = None,
    known: Mapping[int, KnownView] | None = None,
) -> Condensed:
    """The alignment problem of n views. Raises `UserError` for masks that are missing, of another size or all empty,
    and for views that matches do not join."""
    known = known or {}
    check_masks(masks, sizes_hw)
    views = tuple(
        _canonical(view, pairs, sizes_hw[view], config, masks, known.get(view)) for view in range(len(sizes_hw))
    )
    sizes = views[0].points.new_tensor([(w, h) for h, w in sizes_hw])
    principal_points, focals = _intrinsics(views, sizes, config, masks, known)
    core_depth = [core_depths(view.points, view.grid) for view in views]
    for view, fact in known.items():
        if fact.depth is not None:
            core_depth[view] = _anchor_depths(fact.depth, views[view])
    counts = torch.tensor([len(view.grid) for view in views], device=sizes.device)
    first_anchor = (counts.cumsum(0) - counts).tolist()
    anchor_view = torch.arange(len(views), device=sizes.device).repeat_interleave(counts)
    sightings, matches, scores, weak = _match(pairs, views, first_anchor, config.matching_confidence, masks)
    tree = kinematic_tree(scores, config.tree, counts.cpu().double().numpy())
    usable = torch.cat([view.grid.usable for view in views])
    problem = Problem(
        sizes=sizes,
        principal_points=principal_points,
        base_focals=focals,
        anchor_view=anchor_view,
        anchor_pixel=torch.cat([_positions(view) for view in views]),
        core_depth=torch.cat(core_depth),
        median_depth=median_depths(torch.cat(core_depth), anchor_view, usable, len(views)),
        sightings=sightings,
        matches=matches,
        regression=_regression(pairs, weak, sightings, views),
        tree=tree,
        confidence=torch.stack([view.confidence.mean() for view in views]),
        fixed=_fixed(known, sizes),
    )
    return Condensed(problem, views)


def check_masks(masks: Masks | None, sizes_hw: Sequence[tuple[int, int]]) -> None:
    """Raise `UserError` for masks that do not fit the photos, or that hide everything."""
    if masks is None:
        return
    sizes = [tuple(mask.shape) for mask in masks]
    if sizes != [tuple(size) for size in sizes_hw]:
        raise clear(
            "masks",
            expected=f"one per photo, of their sizes {[tuple(size) for size in sizes_hw]}",
            got=str(sizes),
            do="resize masks together with their photos",
        )
    if not any(bool(mask.any()) for mask in masks):
        raise clear(
            "masks",
            expected="True (or white) on the object in some photo",
            got="nothing but background in all of them",
            do="check that object and background are not exchanged",
        )


def matches_on_object(matches: Correspondences, masks: Masks | None, i: int, j: int) -> Correspondences:
    """The matches of photos i and j whose ends both lie on the object."""
    if masks is None or matches.is_empty:
        return matches
    ends = []
    for view, xy in ((i, matches.xy_i), (j, matches.xy_j)):
        x, y = nearest_pixels(xy, *masks[view].shape)
        ends.append(masks[view][y, x])
    return matches.where(ends[0] & ends[1])


def _canonical(
    view: int,
    pairs: Pairs,
    size_hw: tuple[int, int],
    config: SparseConfig,
    masks: Masks | None,
    known: KnownView | None,
) -> CanonicalView:
    mask = None if masks is None else masks[view]
    average: CanonicalAverage | None = None
    for i, j in pairs:
        if view in (i, j):
            result = pairs[i, j]
            own = result.ij if view == i else result.ji
            if average is None:
                average = CanonicalAverage(*size_hw, config.step, mask, config.relief, like=own.X_1)
            average.add(own.X_1, own.C_1)
    if average is None:
        raise clear(f"photo {view}", expected="at least one pair with another", got="none", do="leave it out")
    canonical = average.view()
    if known is None or known.depth is None:
        return canonical
    depth = known.depth.to(canonical.points)
    at_anchor = depth.reshape(-1)[canonical.grid.of_every_pixel()]
    good = torch.isfinite(depth) & (depth > 0) & torch.isfinite(at_anchor) & (at_anchor > 0)
    relative = torch.where(good, depth / torch.where(good, at_anchor, 1), torch.nan)
    return replace(canonical, relative_depth=relative, confidence=canonical.confidence * good)


def _anchor_depths(depth: Float[Tensor, "h w"], view: CanonicalView) -> Float[Tensor, "anchors"]:
    points = torch.stack((depth, depth, depth), dim=-1).to(view.points)
    return core_depths(points, view.grid)


def _intrinsics(
    views: tuple[CanonicalView, ...],
    sizes: Tensor,
    config: SparseConfig,
    masks: Masks | None,
    known: Mapping[int, KnownView],
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    """Principal points in pixels counted from the first one's centre, as published at half the size; focal lengths."""
    centers, focals = sizes / 2, []
    for index, view in enumerate(views):
        fact = known.get(index)
        if fact is not None and fact.K is not None:
            centers[index] = fact.K[:2, 2].to(sizes) - 0.5
            focals.append((fact.K[0, 0] + fact.K[1, 1]).to(sizes) / 2)
            continue
        mask = None if masks is None else masks[index]
        focals.append(bounded_focal(view.points, centers[index] + 0.5, mask, config.focal_from))
    return centers, torch.stack(focals)


def _match(
    pairs: Pairs, views: tuple[CanonicalView, ...], first_anchor: list[int], threshold: float, masks: Masks | None
) -> tuple[Sightings, Matches, Float[np.ndarray, "n n"], list[tuple[int, int]]]:
    """All sightings, the matches of sure pairs, the number of matches between views, and which pairs are unsure."""
    rows: list[tuple[Tensor, ...]] = []
    joined: list[tuple[Tensor, ...]] = []
    weak: list[tuple[int, int]] = []
    scores, seen = np.zeros((len(views), len(views))), 0
    for i, j in pairs:
        matches = matches_on_object(pairs[i, j].correspondences, masks, i, j)
        ends = (
            hang(views[i].relative_depth, matches.xy_i, views[i].grid),
            hang(views[j].relative_depth, matches.xy_j, views[j].grid),
        )
        keep = ends[0].valid & ends[1].valid
        count = int(keep.sum())
        scores[i, j] = scores[j, i] = count
        if count == 0:
            continue
        for view, xy, end in zip((i, j), (matches.xy_i, matches.xy_j), ends, strict=True):
            rows.append(_sighted(view, xy[keep], end, keep, first_anchor[view]))
        confidence = matches.confidence[keep]
        if float(confidence.max()) > threshold:
            first = torch.arange(count, device=confidence.device) + seen
            joined.append((first, first + count, confidence))
        else:
            weak.append((i, j))
        seen += 2 * count
    like = views[0].points
    index = torch.zeros(0, dtype=torch.int64, device=like.device)
    sightings = Sightings(*_cat(rows, (index, like.new_zeros(0, 2), index, like.new_zeros(0))))
    return sightings, Matches(*_cat(joined, (index, index, like.new_zeros(0)))), scores, weak


def _sighted(view: int, xy: Tensor, end: Hung, keep: Tensor, first_anchor: int) -> tuple[Tensor, ...]:
    return torch.full_like(end.anchor[keep], view), xy, end.anchor[keep] + first_anchor, end.offset[keep]


def _regression(
    pairs: Pairs, weak: list[tuple[int, int]], sightings: Sightings, views: tuple[CanonicalView, ...]
) -> Regression:
    """Both photos' sightings of each weak pair, and where the partner's prediction puts these very pixels, in the unit
    of the partner's canonical view.

    The published code leaves every prediction in a unit of its own, and reads it at the corner of each pixel's block.
    """
    parts: list[tuple[Tensor, ...]] = []
    for i, j in weak:
        result = pairs[i, j]
        for view, partner, seen in ((i, j, result.ji), (j, i, result.ij)):
            own = torch.nonzero(sightings.view == view)[:, 0]
            x, y = nearest_pixels(sightings.pixel[own], *views[view].confidence.shape)
            target, weight = _unit(seen, views[partner]) * seen.X_2[y, x], seen.C_2[y, x]
            good = torch.isfinite(target).all(dim=-1) & torch.isfinite(weight) & (weight > 0)
            own = own[good]
            parts.append((own, torch.full_like(own, partner), target[good], weight[good]))
    none = Regression.none(sightings.offset)
    return Regression(*_cat(parts, (none.sighting, none.frame, none.target, none.weight)))


def _unit(prediction: PairPrediction, canonical: CanonicalView) -> Float[Tensor, ""]:
    """Factor from a prediction to the canonical view of its first photo: the median ratio of their depths."""
    ratio = canonical.points[..., 2] / prediction.X_1[..., 2]
    good = torch.isfinite(ratio) & (ratio > 0) & (canonical.confidence > 0)
    return ratio[good].median() if good.any() else torch.ones_like(ratio[0, 0])


def _fixed(known: Mapping[int, KnownView], sizes: Tensor) -> Fixed:
    fixed = Fixed.nothing(sizes)
    for view, fact in known.items():
        fixed.focal[view] = fact.K is not None and fact.keep_K
        fixed.pose[view] = fact.world_from_cam is not None and fact.keep_pose
        fixed.depth[view] = fact.depth is not None and fact.keep_depth
    return fixed


def _positions(view: CanonicalView) -> Float[Tensor, "a 2"]:
    pixel, width = view.grid.pixel, view.grid.width
    return torch.stack((pixel % width, pixel // width), dim=-1).to(view.points)


def _cat(parts: list[tuple[Tensor, ...]], none: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(column) for column in zip(*parts, strict=True)) if parts else none
