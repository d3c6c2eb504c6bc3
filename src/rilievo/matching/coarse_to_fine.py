"""Matches at a photo's full resolution: coarse matches choose pairs of crops, which are matched one by one.

Networks see photos at some 512 px. Following MASt3R (Leroy et al. 2024, arXiv:2406.09756, §3.4), the large photos are
tiled with overlapping windows. What a tile shows lies in the other photo about where its coarse matches end, larger or
smaller by as much as these spread there; so every tile of either photo proposes a pair of windows. A pair is worth
exp(−2 |d_i|² − 2 |d_j|²) to a match in its tile, with d the match's distance from the middle in window sizes: crops see
least at their borders. Chosen are pairs that leave every match a good one, as in facility location: greedily, each time
the pair that adds most to Σ_matches max_chosen worth, which comes within 1 − 1/e of the best (Nemhauser, Wolsey &
Fisher 1978).

Matches inside crops are carried back to the whole photos, so that only a pair of crops at a time is in memory.
Positions are pixel indices, as in `pair_result`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.matching.pair_result import Correspondences
from rilievo.matching.windows import Windows

LEAST_MATCHES = 10
"""A tile with fewer coarse matches proposes nothing."""
LEAST_SPREAD_PX = 20.0
"""Matches closer together than this say nothing of the scale between the photos."""
TENTHS = (0.1, 0.9)
"""Matches spread from the first tenth to the last: a few wrong ones do not count."""
FALL_OFF = 2.0
"""How fast a match's worth falls with the square of its distance from the middle."""


@dataclass(frozen=True)
class CropConfig:
    """How large photos are cut up."""

    long_side_px: int = 512
    """Long side of a tile."""
    overlap: float = 0.5
    """Least share of a tile that its neighbour covers too."""
    resolution_hw: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None)
    """Exact height and width of the crops of photo i and of photo j, where the network wants one."""
    target: float = 0.9
    """Share of the worth that all pairs together have for the matches, at which enough are chosen."""


@dataclass(frozen=True)
class CropPair:
    """A window of photo i and the window of photo j that shows the same: (left, top, right, bottom), ends exclusive."""

    window_i: tuple[int, int, int, int]
    window_j: tuple[int, int, int, int]


@dataclass(frozen=True)
class _Proposals:
    """Windows of a photo, what each shows in the other, and what the pairs are worth to the matches."""

    here: Windows
    there: Windows
    worth: Float[Tensor, "pairs matches"]


def select_crop_pairs(
    coarse: Correspondences,
    size_i_hw: tuple[int, int],
    size_j_hw: tuple[int, int],
    config: CropConfig = CropConfig(),
) -> list[CropPair]:
    """Crop pairs, best first, that together see the coarse matches well enough; none where these are too few.

    `coarse` is in pixels of the full photos. Raises `UserError` for photos smaller than the crops.
    """
    xy_i, xy_j = coarse.xy_i.double().cpu(), coarse.xy_j.double().cpu()
    of_i = _propose(xy_i, xy_j, size_i_hw, size_j_hw, config.resolution_hw, config)
    of_j = _propose(xy_j, xy_i, size_j_hw, size_i_hw, config.resolution_hw[::-1], config)
    windows_i = of_i.here.and_then(of_j.there).corners
    windows_j = of_i.there.and_then(of_j.here).corners
    chosen = facilities(torch.cat((of_i.worth, of_j.worth)), config.target)
    return [CropPair(windows_i[k], windows_j[k]) for k in chosen]


def facilities(worth: Float[Tensor, "pairs matches"], target: float) -> list[int]:
    """Rows, most useful first, until the matches' best worths among them add up to `target` of what all rows give."""
    enough = target * worth.amax(dim=0).sum() if len(worth) else worth.sum()
    reached = worth.new_zeros(worth.shape[1])
    chosen: list[int] = []
    while reached.sum() < enough:
        gains = (worth - reached).clamp_min(0).sum(dim=1)
        best = int(gains.argmax())
        if not gains[best] > 0:
            break
        chosen.append(best)
        reached = reached.maximum(worth[best])
    return chosen


def match_through_crops(
    crops: Iterable[CropPair],
    match: Callable[[CropPair], tuple[Correspondences, tuple[int, int], tuple[int, int]]],
    like: Tensor,
) -> Correspondences:
    """Match every crop pair and gather what was found, in pixels of the full photos.

    `match` returns the matches within a pair of crops, and the height and width at which the network saw each, which
    may differ from its window's. A pair of positions found in several crops counts once, with its largest confidence.
    `like` gives device and dtype where nothing is found.
    """
    found = [Correspondences.none(like)]
    for crop in crops:
        within, seen_i, seen_j = match(crop)
        found.append(
            replace(
                within,
                xy_i=lifted(within.xy_i, crop.window_i, seen_i),
                xy_j=lifted(within.xy_j, crop.window_j, seen_j),
            )
        )
    return united(found)


def lifted(
    xy: Float[Tensor, "m 2"], window: tuple[int, int, int, int], seen_hw: tuple[int, int]
) -> Float[Tensor, "m 2"]:
    """Positions in a crop seen at size `seen_hw` as positions in the whole photo; pixel edges go to pixel edges."""
    left, top, right, bottom = window
    scale = xy.new_tensor(((right - left) / seen_hw[1], (bottom - top) / seen_hw[0]))
    return xy.new_tensor((left, top)) + (xy + 0.5) * scale - 0.5


def united(parts: Iterable[Correspondences]) -> Correspondences:
    """All matches of the parts: sorted by pixel of i, then of j; of equal ones the most confident."""
    parts = list(parts)
    xy_i, xy_j, confidence = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("xy_i", "xy_j", "confidence")
    )
    keys = torch.cat((xy_i.flip(1), xy_j.flip(1)), dim=1)
    unique, which = keys.unique(dim=0, return_inverse=True)
    best = confidence.new_zeros(len(unique)).scatter_reduce(0, which, confidence, "amax")
    return Correspondences(unique[:, [1, 0]], unique[:, [3, 2]], best)


def _propose(
    xy_here: Float[Tensor, "m 2"],
    xy_there: Float[Tensor, "m 2"],
    here_hw: tuple[int, int],
    there_hw: tuple[int, int],
    shapes_hw: tuple[tuple[int, int] | None, ...],
    config: CropConfig,
) -> _Proposals:
    """A pair for every tile that has matches enough."""
    tiles = Windows.tiling(here_hw, config.long_side_px, config.overlap)
    here = Windows.around(tiles.center, tiles.extent, here_hw, shapes_hw[0])
    held = here.hold(xy_here)
    populous = held.sum(dim=1) >= LEAST_MATCHES
    here, held = here[populous], held[populous]
    ends = [xy_there[inside] for inside in held]
    center = torch.stack([end.mean(dim=0) for end in ends]) if ends else xy_there.new_empty(0, 2)
    zoom = [_spread(end) / _spread(xy_here[inside]) for end, inside in zip(ends, held, strict=True)]
    extent = here.extent * torch.stack(zoom) if zoom else center
    there = Windows.around(center, extent, there_hw, shapes_hw[1])
    distance = here.offsets(xy_here).square().sum(dim=-1) + there.offsets(xy_there).square().sum(dim=-1)
    return _Proposals(here, there, (-FALL_OFF * distance).exp() * held)


def _spread(xy: Float[Tensor, "k 2"]) -> Float[Tensor, "2"]:
    low, high = torch.quantile(xy, xy.new_tensor(TENTHS), dim=0)
    return (high - low).clamp_min(LEAST_SPREAD_PX)
