"""Matches at a photo's full resolution: coarse matches choose pairs of crops, which are matched one by one.

Networks see photos at some 512 px. Following MASt3R (Leroy et al. 2024, arXiv:2406.09756, §3.4), the large photos are
covered by overlapping windows; each window is paired with the part of the other photo that its coarse matches show, and
pairs are taken greedily until they see nine tenths of the coarse matches. Matches inside crops are carried back to the
whole photos, so that only a crop pair at a time is in memory.

Windows are integers (left, top, right, bottom) in pixels, right and bottom exclusive. Positions are pixel indices, as
in `pair_result`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.errors import clear
from rilievo.matching.pair_result import Correspondences

PATCH = 16
"""Windows are whole numbers of the network's patches high and wide."""
ASPECT = 3.01 / 4
"""Short to long side of a window where no resolution is asked for: 3/4, with room for rounding."""
LEAST_MATCHES = 10
"""A window with fewer coarse matches is left out."""
LEAST_SPREAD_PX = 20.0
"""Matches closer together than this say nothing of the scale between the photos."""
FALL_OFF = 2.0
"""How fast a match's worth to a window falls with its distance from the middle, in window sizes squared."""


@dataclass(frozen=True)
class CropConfig:
    """How large photos are cut up."""

    long_side_px: int = 512
    """Long side of a window."""
    overlap: float = 0.5
    """Least share of a window that its neighbour covers too."""
    resolution_hw: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None)
    """Exact height and width of the crops of photo i and of photo j, where the network wants one."""
    target: float = 0.9
    """Share of the coarse matches that the chosen crops see."""


@dataclass(frozen=True)
class CropPair:
    """A window of photo i and the window of photo j that shows the same."""

    window_i: tuple[int, int, int, int]
    window_j: tuple[int, int, int, int]


def window_grid(size_hw: tuple[int, int], long_side_px: int, overlap: float) -> Int64[Tensor, "n 4"]:
    """Windows of the photo's shape that cover it, row by row, neighbours sharing at least `overlap` of their extent.

    Raises `UserError` where a window would be larger than the photo or not a patch high, or the overlap not in [0, 1).
    """
    h, w = size_hw
    if not 0 <= overlap < 1:
        raise clear("overlap of crops", expected="at least 0 and less than 1", got=str(overlap), do="0.5 is usual")
    window_h, window_w = (side * long_side_px // max(h, w) // PATCH * PATCH for side in size_hw)
    if not (PATCH <= window_h <= h and PATCH <= window_w <= w):
        raise clear(
            f"crops of a {w}x{h} photo",
            expected=f"between {PATCH} px and the photo's size",
            got=f"{window_w}x{window_h} for a long side of {long_side_px}",
            do="match a photo as small as this whole",
        )
    top, left = _starts(h, window_h, overlap), _starts(w, window_w, overlap)
    y, x = (part.flatten() for part in torch.meshgrid(top, left, indexing="ij"))
    return torch.stack((x, y, x + window_w, y + window_h), dim=1)


def shaped_windows(
    windows: Float[Tensor, "n 4"], size_hw: tuple[int, int], resolution_hw: tuple[int, int] | None
) -> Int64[Tensor, "n 4"]:
    """Windows of the same centres in a shape the network takes, whole pixels, moved to lie inside the photo.

    The shape is `resolution_hw`, or 3:4 with the long side kept. Raises `UserError` where that exceeds the photo.
    """
    h, w = size_hw
    size = windows[:, 2:] - windows[:, :2]
    shape = size.minimum(size.new_tensor((w, h)))
    if resolution_hw is not None:
        if resolution_hw[0] > h or resolution_hw[1] > w:
            raise clear(
                f"crops of a {w}x{h} photo",
                expected="at most its size",
                got=f"{resolution_hw[1]}x{resolution_hw[0]}",
                do="match a photo as small as this whole",
            )
        shape = shape.new_tensor(resolution_hw[::-1]).expand_as(shape)
    else:
        is_long = torch.stack((size[:, 0] >= size[:, 1], size[:, 0] < size[:, 1]), dim=1)
        short = (shape.flip(1) * ASPECT).minimum(size.new_tensor((w, h)))
        shape = torch.where(is_long, shape, short)
    half = (shape - size) / 2
    corner = torch.floor(windows[:, 2:] + half).long()
    shape = shape.long()
    limit = torch.tensor((w, h), device=size.device)
    start = (corner - shape).clamp_min(0).minimum(limit - shape)
    return torch.cat((start, start + shape), dim=1)


def select_crop_pairs(
    coarse: Correspondences,
    size_i_hw: tuple[int, int],
    size_j_hw: tuple[int, int],
    config: CropConfig = CropConfig(),
) -> list[CropPair]:
    """Crop pairs, best first, that together see `config.target` of the coarse matches; none where these are too few.

    `coarse` is in pixels of the full photos. Raises `UserError` for photos smaller than the crops.
    """
    xy_i, xy_j = coarse.xy_i.double(), coarse.xy_j.double()
    sizes, shapes = (size_i_hw, size_j_hw), config.resolution_hw
    own_i, own_j = (
        shaped_windows(window_grid(size, config.long_side_px, config.overlap).double(), size, shape).to(xy_i.device)
        for size, shape in zip(sizes, shapes)
    )
    from_i = _paired_windows(own_i, xy_i, xy_j, size_j_hw, shapes[1])
    from_j = _paired_windows(own_j, xy_j, xy_i, size_i_hw, shapes[0])
    windows_i = torch.cat((from_i[0], from_j[1]))
    windows_j = torch.cat((from_i[1], from_j[0]))
    worth = torch.cat((from_i[2], from_j[2]))
    return [
        CropPair(_corners(windows_i[place]), _corners(windows_j[place])) for place in greedy_cover(worth, config.target)
    ]


def greedy_cover(worth: Float[Tensor, "crops matches"], target: float = 0.9) -> list[int]:
    """Crops, best first, until they add up to `target` of what all of them could: the sum of each match's best worth.

    What a chosen crop is worth to a match is taken off all others, down to zero.
    """
    left = worth.clone()
    wanted = target * worth.amax(dim=0).sum() if len(worth) else worth.sum()
    chosen: list[int] = []
    covered = torch.zeros_like(wanted)
    while covered < wanted:
        best = int(left.sum(dim=1).argmax())
        gain = left[best].clone()
        if not gain.any():
            break
        chosen.append(best)
        covered = covered + gain.sum()
        left = (left - gain).clamp_min(0)
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


def _starts(total: int, window: int, overlap: float) -> Int64[Tensor, "n"]:
    last = total - window
    count = 2 + int((last - 1) // (window * (1 - overlap)))
    return torch.linspace(0, last, count, dtype=torch.float64).round().long()


def _paired_windows(
    windows: Int64[Tensor, "n 4"],
    xy_own: Float[Tensor, "m 2"],
    xy_other: Float[Tensor, "m 2"],
    other_hw: tuple[int, int],
    other_resolution_hw: tuple[int, int] | None,
) -> tuple[Int64[Tensor, "k 4"], Int64[Tensor, "k 4"], Float[Tensor, "k m"]]:
    """Windows with enough matches, what they show in the other photo, and what each pair is worth to each match.

    The other window lies about the mean of the matches' other ends; its size follows from how far they spread there
    and here, between the first and the last tenth.
    """
    shows = _inside(windows, xy_own)
    enough = shows.sum(dim=1) >= LEAST_MATCHES
    windows, shows = windows[enough], shows[enough]
    guessed = xy_own.new_empty((len(windows), 4))
    for k, here in enumerate(shows):
        spread_own, spread_other = (_spread(xy[here]) for xy in (xy_own, xy_other))
        half = (windows[k, 2:] - windows[k, :2]) * spread_other / spread_own / 2
        middle = xy_other[here].mean(dim=0)
        guessed[k] = torch.cat((middle - half, middle + half))
    other = shaped_windows(guessed, other_hw, other_resolution_hw)
    worth = _central(windows, xy_own) * _central(other, xy_other)
    return windows, other, torch.where(shows, worth, torch.zeros_like(worth))


def _inside(windows: Int64[Tensor, "n 4"], xy: Float[Tensor, "m 2"]) -> Bool[Tensor, "n m"]:
    return ((windows[:, None, :2] <= xy) & (xy < windows[:, None, 2:])).all(dim=2)


def _spread(xy: Float[Tensor, "k 2"]) -> Float[Tensor, "2"]:
    low, high = torch.quantile(xy, xy.new_tensor((0.1, 0.9)), dim=0)
    return (high - low).clamp_min(LEAST_SPREAD_PX)


def _central(windows: Int64[Tensor, "n 4"], xy: Float[Tensor, "m 2"]) -> Float[Tensor, "n m"]:
    """1 in the middle of a window, falling as a Gaussian of the distance in window sizes."""
    size = (windows[:, 2:] - windows[:, :2]).double()
    middle = (windows[:, 2:] + windows[:, :2]).double() / 2
    away = ((middle[:, None] - xy) / size[:, None]).square().sum(dim=2)
    return (-FALL_OFF * away).exp()


def _corners(window: Int64[Tensor, "4"]) -> tuple[int, int, int, int]:
    left, top, right, bottom = window.tolist()
    return left, top, right, bottom
