"""Matches at a resolution beyond the network's: larger pictures of the photos, matched again crop by crop.

Coarse matches choose the crops (`matching.coarse_to_fine`); the network looks at a pair of crops as at a pair of
photos, and what it finds is carried back to the pictures that are aligned, where it lies between whole numbers. Of the
matches in each block of half a step the surest is kept: no more than coarse matching finds at most, so that what was
estimated of disk and memory, and the time that solving takes, stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from PIL import Image
from torch import Tensor

from rilievo.io.image import read_color
from rilievo.matching.coarse_to_fine import CropConfig, CropPair, match_through_crops, select_crop_pairs
from rilievo.matching.correspondences import MatchingConfig, match_pair
from rilievo.matching.pair_result import Correspondences, Descriptors, PairPrediction
from rilievo.pipelines.network_photos import NetworkPhoto, PhotoPredictor, framed_mask
from rilievo.pointmaps.photo import PreparedPhoto, prepare

KEPT = 4
"""Large pictures that are remembered."""


@dataclass(frozen=True)
class FineMatching:
    """How large the pictures are."""

    side_px: int
    """Their long side at most; photos are not enlarged beyond what the network sees anyway."""

    @property
    def memory_bytes(self) -> int:
        """Of large pictures and masks, and of the photo that one is made from."""
        return (KEPT + 1) * 4 * self.side_px**2


@dataclass(frozen=True)
class LargePicture:
    """A photo larger than the network sees it."""

    pixels: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"] | None
    """255 on the object."""
    from_input: Float64[Tensor, "3 3"]
    """From pixels of the network's picture to pixels of this one, both with centres at +0.5."""

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def crop(self, window: tuple[int, int, int, int], size_px: int) -> PreparedPhoto:
        """A window as the network sees it, its long side `size_px`."""
        left, top, right, bottom = window
        return prepare(self.pixels[top:bottom, left:right], size_px, square_ok=True)

    def crop_mask(self, window: tuple[int, int, int, int], seen: PreparedPhoto) -> Tensor | None:
        left, top, right, bottom = window
        return None if self.mask is None else framed_mask(self.mask[top:bottom, left:right], seen.framing)


class FineMatcher:
    """Replaces the coarse matches of a pair of photos by finer ones."""

    def __init__(
        self,
        photos: Sequence[NetworkPhoto],
        predictor: PhotoPredictor,
        matching: MatchingConfig,
        fine: FineMatching,
    ) -> None:
        self.photos, self.predictor, self.matching, self.fine = photos, predictor, matching, fine
        self._picture = lru_cache(maxsize=KEPT)(self._load)

    def __call__(self, i: int, j: int, coarse: Correspondences) -> Correspondences:
        """Finer matches of photos i and j, in pixels of the network's pictures.

        The coarse ones where these are too few to choose crops by, or neither photo is larger than the network saw it.
        """
        if coarse.is_empty or not (self._is_larger(i) or self._is_larger(j)):
            return coarse
        one, two = self._picture(i), self._picture(j)
        on_large = Correspondences(
            carried(coarse.xy_i, one.from_input), carried(coarse.xy_j, two.from_input), coarse.confidence
        )
        seen_px = min(self._long_px(i), self._long_px(j))
        crops = select_crop_pairs(on_large, one.size_hw, two.size_hw, CropConfig(seen_px))
        found = match_through_crops(crops, lambda crop: self._match(one, two, crop, seen_px), coarse.confidence)
        back = Correspondences(
            carried(found.xy_i, torch.linalg.inv(one.from_input)),
            carried(found.xy_j, torch.linalg.inv(two.from_input)),
            found.confidence,
        )
        inside = _inside(back.xy_i, self.photos[i].size_hw) & _inside(back.xy_j, self.photos[j].size_hw)
        thin = thinned(back.where(inside), self.matching.step)
        return coarse if thin.is_empty else thin

    def _match(
        self, one: LargePicture, two: LargePicture, crop: CropPair, seen_px: int
    ) -> tuple[Correspondences, tuple[int, int], tuple[int, int]]:
        """Matches of a pair of crops in pixels of their windows, and the windows' sizes."""
        seen = one.crop(crop.window_i, seen_px), two.crop(crop.window_j, seen_px)
        said = dict(self.predictor.predict(seen, [(0, 1), (1, 0)]))
        masks = one.crop_mask(crop.window_i, seen[0]), two.crop_mask(crop.window_j, seen[1])
        within = match_pair(_described(said[0, 1]), _described(said[1, 0]), self.matching, masks)
        in_windows = Correspondences(
            carried(within.xy_i, seen[0].photo_from_input),
            carried(within.xy_j, seen[1].photo_from_input),
            within.confidence,
        )
        return in_windows, seen[0].framing.photo_px[::-1], seen[1].framing.photo_px[::-1]

    def _long_px(self, i: int) -> int:
        return max(self.photos[i].size_hw)

    def _is_larger(self, i: int) -> bool:
        return min(max(self.photos[i].photo.size_px), self.fine.side_px) > self._long_px(i)

    def _load(self, i: int) -> LargePicture:
        photo = self.photos[i]
        width, height = photo.photo.size_px
        side = max(min(max(width, height), self.fine.side_px), self._long_px(i))
        scale = side / max(width, height)
        size = round(width * scale), round(height * scale)
        mask = photo.photo.mask_pixels()
        if mask is not None:
            mask = np.asarray(Image.fromarray(np.ascontiguousarray(mask)).resize(size, Image.Resampling.BOX))
        scaling = torch.diag(torch.tensor([size[0] / width, size[1] / height, 1.0], dtype=torch.float64))
        return LargePicture(read_color(photo.photo.path, size_px=size), mask, scaling @ photo.prepared.photo_from_input)


def carried(xy: Float[Tensor, "m 2"], to_from: Float64[Tensor, "3 3"]) -> Float[Tensor, "m 2"]:
    """Pixel indices carried by a scaling and a shift, which count pixel centres at +0.5."""
    A = to_from.to(xy.device)
    return ((xy.double() + 0.5) @ A[:2, :2].mT + A[:2, 2] - 0.5).to(xy)


def thinned(matches: Correspondences, step: int) -> Correspondences:
    """Of the matches whose ends in photo i share a block of half a step, the surest; order stays."""
    block = (matches.xy_i / max(step / 2, 1.0)).floor().long()
    by_confidence = matches.confidence.argsort(descending=True, stable=True)
    _, number = block.unique(dim=0, return_inverse=True)
    keep = torch.zeros(len(matches), dtype=torch.bool, device=block.device)
    first = torch.full((len(matches),), len(matches), device=block.device)
    rank = torch.empty_like(by_confidence)
    rank[by_confidence] = torch.arange(len(matches), device=block.device)
    first = first.scatter_reduce(0, number, rank, "amin")
    keep[by_confidence[first[first < len(matches)]]] = True
    return matches.where(keep)


def _inside(xy: Float[Tensor, "m 2"], size_hw: tuple[int, int]) -> Tensor:
    h, w = size_hw
    return ((xy >= 0) & (xy <= xy.new_tensor((w - 1, h - 1)))).all(dim=-1)


def _described(said: PairPrediction) -> tuple[Descriptors, Descriptors]:
    one, two = said.descriptors_1, said.descriptors_2
    assert one is not None, "coarse matches came from descriptors"
    assert two is not None, "and both photos have them"
    return one, two
