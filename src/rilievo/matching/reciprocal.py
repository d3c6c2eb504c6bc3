"""Fast reciprocal nearest neighbours between two descriptor maps (MASt3R, Leroy et al. 2024, arXiv:2406.09756, §3.3).

From a sparse grid of pixels of photo 1, walk to the nearest descriptor of photo 2, back to the nearest of photo 1, and
so on, until a round trip ends where it began: a mutual nearest pair. All pixels that end in the same pair are its
basin, which is why a few starts find most of the large ones, at a small part of the cost of comparing everything.

Pixels are flat indices y·w + x, row-major; −1 (`NOBODY`) is no pixel. A pixel whose descriptor cannot be compared (all
zero, not finite) neither starts a walk nor ends one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.errors import clear
from rilievo.matching.nearest import NOBODY, DescriptorSearch

ROUND_TRIPS = 10
"""Walks that have not ended by then are given up; nearly all end within three."""


@dataclass(frozen=True)
class PixelPairs:
    """Matched pixels, as flat indices; unique, sorted by pixel 1, then by pixel 2."""

    pixel_1: Int64[Tensor, "m"]
    pixel_2: Int64[Tensor, "m"]

    def __len__(self) -> int:
        return len(self.pixel_1)


def grid_pixels(size_hw: tuple[int, int], step: int) -> Int64[Tensor, "p"]:
    """Every `step`-th pixel both ways, beginning at step // 2, or at the last where there are fewer.

    Raises `UserError` for a step below 1.
    """
    if step < 1:
        raise clear("step between start pixels", expected="1 or more", got=str(step), do="8 is the published one")
    h, w = size_hw
    y, x = torch.arange(min(step // 2, h - 1), h, step), torch.arange(min(step // 2, w - 1), w, step)
    return (y[:, None] * w + x[None]).flatten()


class DescriptorMaps:
    """Two descriptor maps made ready to be walked between; `D_1` is [h1, w1, d] and `D_2` is [h2, w2, d]."""

    def __init__(self, D_1: Float[Tensor, "h1 w1 d"], D_2: Float[Tensor, "h2 w2 d"]) -> None:
        self.size_1, self.size_2 = (D_1.shape[0], D_1.shape[1]), (D_2.shape[0], D_2.shape[1])
        self._flat_1, self._flat_2 = D_1.flatten(0, 1), D_2.flatten(0, 1)
        self._search_1 = DescriptorSearch(self._flat_1)
        self._search_2 = DescriptorSearch(self._flat_2)

    def swapped(self) -> DescriptorMaps:
        """The same maps, to walk from photo 2; nothing is computed anew."""
        other = object.__new__(DescriptorMaps)
        other.size_1, other.size_2 = self.size_2, self.size_1
        other._flat_1, other._flat_2 = self._flat_2, self._flat_1
        other._search_1, other._search_2 = self._search_2, self._search_1
        return other

    def in_2(self, pixels: Int64[Tensor, "p"]) -> Int64[Tensor, "p"]:
        """The pixel of photo 2 nearest to each pixel of photo 1."""
        known = pixels != NOBODY
        answer = torch.full_like(pixels, NOBODY)
        answer[known] = self._search_2.nearest(self._flat_1[pixels[known]])
        return answer

    def in_1(self, pixels: Int64[Tensor, "p"]) -> Int64[Tensor, "p"]:
        """The pixel of photo 1 nearest to each pixel of photo 2."""
        return self.swapped().in_2(pixels)

    def starts(self, step: int) -> Int64[Tensor, "p"]:
        """Start pixels in photo 1."""
        return grid_pixels(self.size_1, step).to(self._flat_1.device)


def reciprocal_matches(maps: DescriptorMaps, *, step: int = 8) -> PixelPairs:
    """Mutual nearest neighbours in whose basins the pixels of a grid lie; all there are, for step 1."""
    at_1 = maps.starts(step)
    at_2 = torch.full_like(at_1, NOBODY)
    walking = torch.arange(len(at_1), device=at_1.device)
    for _ in range(ROUND_TRIPS):
        there = maps.in_2(at_1[walking])
        moved = there != at_2[walking]  # else the way back is known: it led here
        walking, there = walking[moved], there[moved]
        at_2[walking] = there
        back = maps.in_1(there)
        moved = back != at_1[walking]
        walking = walking[moved]
        at_1[walking] = back[moved]
        if not len(walking):
            break
    ended = torch.ones_like(at_1, dtype=torch.bool)
    ended[walking] = False
    ended &= (at_1 != NOBODY) & (at_2 != NOBODY)
    return unique_pairs(at_1[ended], at_2[ended])[0]


def matches_of_pixels(maps: DescriptorMaps, pixels: Int64[Tensor, "p"], *, tolerance_px: float = 0.0) -> PixelPairs:
    """Nearest neighbours of given pixels of photo 1 whose own nearest neighbour is not far from where they started.

    One round trip; a pixel stays itself and is not moved along its walk. With tolerance 0 it must come back to itself,
    else to less than `tolerance_px` away.
    """
    pixels = pixels.unique()
    there = maps.in_2(pixels)
    back = maps.in_1(there)
    width = maps.size_1[1]
    apart = torch.hypot((back % width - pixels % width).double(), (back // width - pixels // width).double())
    kept = (back != NOBODY) & ((back == pixels) | (apart < tolerance_px))
    return unique_pairs(pixels[kept], there[kept])[0]


def basins(maps: DescriptorMaps, *, step: int = 1) -> Int64[Tensor, "pixels"]:
    """Where one round trip takes each pixel of photo 1 that the walks from a grid touch; −1 for those they do not."""
    basin = torch.full_like(maps.starts(1), NOBODY)
    walking = maps.starts(step)
    for _ in range(ROUND_TRIPS):
        back = maps.in_1(maps.in_2(walking))
        basin[walking] = back
        walking = back[(back != walking) & (back != NOBODY)].unique()
        if not len(walking):
            break
    return basin


def unique_pairs(pixel_1: Int64[Tensor, "p"], pixel_2: Int64[Tensor, "p"]) -> tuple[PixelPairs, Int64[Tensor, "m"]]:
    """Pairs once each, sorted by pixel 1 and then pixel 2, and where each first occurred."""
    by_2 = pixel_2.argsort(stable=True)
    order = by_2[pixel_1[by_2].argsort(stable=True)]
    a, b = pixel_1[order], pixel_2[order]
    new = torch.ones_like(a, dtype=torch.bool)
    new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return PixelPairs(a[new], b[new]), order[new]
