"""What is given: pointmaps and confidences of ordered pairs of photos, stacked so that all edges are handled at once.

Every edge e = (i, j) fills two *slots*, 2e for photo i and 2e + 1 for photo j. Points are stored [slots, 3, pixels],
pixels row after row; photos of fewer pixels than the largest are padded by points of weight 0. A landscape and a
portrait photo of the same camera need no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.alignment.pointmap_graph.confidence import Worth, loss_weight, vote
from rilievo.errors import clear
from rilievo.matching.pair_result import PairPrediction


@dataclass(frozen=True)
class PointmapGraph:
    """Views 0 … n-1 and the edges between them. Build it with `of`."""

    sizes_hw: tuple[tuple[int, int], ...]
    edges: Int64[Tensor, "edges 2"]
    X: Float[Tensor, "slots 3 pixels"]
    """Points in the frame of the edge's first photo; 0 where their vote is 0."""
    votes: Float[Tensor, "slots pixels"]
    """Confidence where it counts, else 0: masked, padded, not finite or worth nothing in the loss."""
    weights: Float[Tensor, "slots pixels"]
    """Weights w(C) in the loss, divided by the number of pixels that all slots of their kind (first, second) hold."""
    confidence: Float[Tensor, "views pixels"]
    """The best vote that a pixel has in any edge."""

    @classmethod
    def of(
        cls,
        edges: Sequence[tuple[int, int]],
        predictions: Sequence[PairPrediction],
        masks: Sequence[Bool[Tensor, "_h _w"]] | None = None,
        worth: Worth = "log",
    ) -> PointmapGraph:
        """The graph of `predictions[e]` for the ordered pairs `edges[e]`; `masks[v]`, True on what may vote.

        Raises `UserError` where sizes contradict each other, a photo or a connection is missing, or nothing votes.
        """
        sizes_hw = _view_sizes(edges, predictions)
        _check_masks(masks, sizes_hw)
        length = max(h * w for h, w in sizes_hw)
        points, seen = [], []
        for (i, j), pair in zip(edges, predictions):
            for v, X, C in ((i, pair.X_1, pair.C_1), (j, pair.X_2, pair.C_2)):
                ok = X.isfinite().all(-1) if masks is None else X.isfinite().all(-1) & masks[v].to(X.device)
                points.append(_padded(X.flatten(0, 1).T, length))
                seen.append(_padded(torch.where(ok, C, 0).flatten(), length))
        C = torch.stack(seen)
        votes = vote(C, worth)
        X = torch.where(votes[:, None] > 0, torch.stack(points), 0)
        ends = torch.tensor(edges, dtype=torch.int64, device=X.device)
        areas = torch.tensor([h * w for h, w in sizes_hw], dtype=X.dtype, device=X.device)[ends].sum(0)
        weights = loss_weight(votes, worth) / areas.repeat(len(edges))[:, None]
        confidence = votes.new_zeros(len(sizes_hw), length)
        confidence.scatter_reduce_(0, ends.reshape(-1, 1).expand_as(votes), votes, "amax")
        graph = cls(sizes_hw, ends, X, votes, weights, confidence)
        _check_connected(graph)
        return graph

    @property
    def n_views(self) -> int:
        return len(self.sizes_hw)

    @property
    def slot_view(self) -> Int64[Tensor, "slots"]:
        """Which photo each slot is about."""
        return self.edges.reshape(-1)

    @property
    def pixels(self) -> Float[Tensor, "views 2 pixels"]:
        """Pixel centres (column + 0.5, row + 0.5) of every view; padding is (0.5, 0.5)."""
        grid = self.X.new_full((self.n_views, 2, self.X.shape[-1]), 0.5)
        for v, (h, w) in enumerate(self.sizes_hw):
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid[v, :, : h * w] += torch.stack((columns, rows)).flatten(1).to(grid)
        return grid

    @property
    def centers_px(self) -> Float[Tensor, "views 2"]:
        """Principal points (w + 1, h + 1) / 2: published networks learned from crops around the *index* (w/2, h/2)."""
        return self.X.new_tensor([((w + 1) / 2, (h + 1) / 2) for h, w in self.sizes_hw])

    @property
    def strengths(self) -> Float[Tensor, "edges"]:
        """Mean vote over the first photo times mean vote over the second; 0 where an edge cannot place one by the
        other.
        """
        areas = self.votes.new_tensor([h * w for h, w in self.sizes_hw])[self.edges]
        ends = self.votes.unflatten(0, (-1, 2))
        enough = ((ends > 0).sum(-1) >= MIN_POINTS).all(-1)
        return torch.where(enough, (ends.sum(-1) / areas).prod(-1), 0)

    def image(self, v: int, flat: Float[Tensor, "*b pixels"]) -> Float[Tensor, "*b h w"]:
        """What is stored pixel by pixel, as the image of view `v`, without padding."""
        h, w = self.sizes_hw[v]
        return flat[..., : h * w].unflatten(-1, (h, w))

    def points(self, slot: int) -> Float[Tensor, "h w 3"]:
        """The pointmap of a slot."""
        return self.image(int(self.slot_view[slot]), self.X[slot]).movedim(0, -1)


MIN_POINTS = 4
"""Points with a vote that an edge needs in both photos: a similarity takes 3, a pose of known focal length 4."""


def _padded(flat: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(flat, (0, length - flat.shape[-1]))


def _view_sizes(edges: Sequence[tuple[int, int]], predictions: Sequence[PairPrediction]) -> tuple[tuple[int, int], ...]:
    if len(edges) == 0 or len(edges) != len(predictions):
        raise clear(
            "pairs to align",
            expected="one prediction per pair, and at least one pair",
            got=f"{len(predictions)} predictions for {len(edges)} pairs",
            do="predict every pair of the scene graph",
        )
    found: dict[int, tuple[int, int]] = {}
    for (i, j), pair in zip(edges, predictions):
        for v, C in ((i, pair.C_1), (j, pair.C_2)):
            size = (C.shape[0], C.shape[1])
            if found.setdefault(v, size) != size:
                raise clear(
                    f"photo {v}",
                    expected=f"pointmaps of one size in all pairs, {found[v]} as in the first",
                    got=f"{size} in pair {(i, j)}",
                    do="predict all pairs from the same resized photos",
                )
    missing = sorted(set(range(max(found) + 1)) - set(found))
    if missing:
        raise clear(
            "pairs to align",
            expected=f"every photo from 0 to {max(found)} in some pair",
            got=f"none with photo {missing[0]}",
            do="number the photos without gaps, or add a pair",
        )
    return tuple(found[v] for v in range(len(found)))


def _check_masks(masks: Sequence[Tensor] | None, sizes_hw: Sequence[tuple[int, int]]) -> None:
    if masks is None:
        return
    if [tuple(mask.shape) for mask in masks] != list(sizes_hw):
        raise clear(
            "masks",
            expected=f"one per photo, of sizes {list(sizes_hw)}",
            got=f"sizes {[tuple(mask.shape) for mask in masks]}",
            do="resize and crop every mask as its photo",
        )


def _check_connected(graph: PointmapGraph) -> None:
    """Every view hangs together with view 0 through edges that can place one photo by the other."""
    usable = graph.edges[graph.strengths > 0].tolist()
    reached, grew = {0}, True
    while grew:
        more = {v for edge in usable if reached & set(edge) for v in edge} - reached
        reached, grew = reached | more, bool(more)
    apart = sorted(set(range(graph.n_views)) - reached)
    if apart:
        voting = (graph.confidence > 0).sum(-1).tolist()
        raise clear(
            "photos to align",
            expected=f"all connected by pairs with at least {MIN_POINTS} confident, unmasked points in both photos",
            got=f"photo {apart[0]} ({voting[apart[0]]} such points) apart from photo 0 ({voting[0]})",
            do="give masks that show the object, add pairs, or leave the photo out",
        )
