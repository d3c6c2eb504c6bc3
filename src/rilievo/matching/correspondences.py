"""From descriptors to correspondences with confidence, under masks.

A pair's two predictions give four descriptor maps: D11, D21 of photos i and j when i came first, D22, D12 of photos j
and i when j did. Alignment matches D11 with D21 and D12 with D22, each from both sides, and weighs a match with the
geometric mean √(Q1·Q2) of its confidences (MASt3R-SfM, Duisterhof et al. 2024, arXiv:2409.19152, §4.2); where a pair
is found more than once, its first finding counts. Localisation has one prediction and weighs with min(Q1, Q2).

Masks (True on what counts) have the photo's size as the network saw it. The network sees the untouched photo; a mask
takes away the *confidence* of what lies outside, and a match without confidence is none. So both ends of a match lie
inside. Whether outside means empty (object) or unknown (ignore) makes no difference here. The nearest neighbour is
sought in the whole photo: an object's pixel that resembles the background most has no match, rather than a poor one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.errors import clear
from rilievo.matching.pair_result import Correspondences, Descriptors
from rilievo.matching.reciprocal import (
    DescriptorMaps,
    matches_of_pixels,
    reciprocal_matches,
    unique_pairs,
)


@dataclass(frozen=True)
class MatchingConfig:
    """How correspondences are found."""

    step: int = 8
    """Pixels between the starts of the search, both ways; 1 finds all mutual nearest neighbours."""


Masks = tuple[Bool[Tensor, "h1 w1"] | None, Bool[Tensor, "h2 w2"] | None]


def match_pair(
    ij: tuple[Descriptors, Descriptors],
    ji: tuple[Descriptors, Descriptors],
    config: MatchingConfig = MatchingConfig(),
    masks: Masks = (None, None),
) -> Correspondences:
    """Correspondences of photos i and j for alignment.

    `ij` holds the descriptors of i and j as predicted for the ordered pair (i, j), `ji` those of j and i for (j, i).
    `masks` are those of i and j. An empty result says that nothing inside the masks matches.
    Raises `UserError` where a mask has another size than its photo.
    """
    pixel_1, pixel_2, confidence = [], [], []
    for one, two in (ij, ji[::-1]):
        one, two = masked(one, masks[0]), masked(two, masks[1])
        a, b = _both_ways(one, two, config.step)
        pixel_1.append(a)
        pixel_2.append(b)
        confidence.append((_at(one.Q, a) * _at(two.Q, b)).sqrt())
    return merged(torch.cat(pixel_1), torch.cat(pixel_2), torch.cat(confidence), ij[0].size_hw, ij[1].size_hw)


def match_photo(
    query: Descriptors,
    reference: Descriptors,
    config: MatchingConfig = MatchingConfig(),
    masks: Masks = (None, None),
    *,
    tolerance_px: float = 0.0,
) -> Correspondences:
    """Correspondences of a photo to be localised (i) and one of the scene (j), from a single prediction.

    With `tolerance_px` above 0, grid pixels are matched as they are where they come back to less than this away;
    otherwise only mutual nearest neighbours. Raises `UserError` where a mask has another size than its photo.
    """
    query, reference = masked(query, masks[0]), masked(reference, masks[1])
    pixel_1, pixel_2 = _both_ways(query, reference, config.step, tolerance_px)
    confidence = torch.minimum(_at(query.Q, pixel_1), _at(reference.Q, pixel_2))
    return merged(pixel_1, pixel_2, confidence, query.size_hw, reference.size_hw)


def masked(descriptors: Descriptors, mask: Bool[Tensor, "h w"] | None) -> Descriptors:
    """The same descriptors, without confidence outside the mask.

    Raises `UserError` where the mask has another size.
    """
    if mask is None:
        return descriptors
    if mask.shape != descriptors.Q.shape:
        raise clear(
            "mask for matching",
            expected=f"the size of the descriptors, {descriptors.size_hw[1]}x{descriptors.size_hw[0]} pixels",
            got=f"{mask.shape[1]}x{mask.shape[0]}",
            do="resample and crop the mask with its photo",
        )
    Q = descriptors.Q
    return replace(descriptors, Q=torch.where(mask.to(Q.device), Q, torch.zeros_like(Q)))


def merged(
    pixel_1: Int64[Tensor, "p"],
    pixel_2: Int64[Tensor, "p"],
    confidence: Float[Tensor, "p"],
    size_1_hw: tuple[int, int],
    size_2_hw: tuple[int, int],
) -> Correspondences:
    """Matched flat pixels as correspondences: sorted, each pair once with the confidence of its first occurrence.

    Matches whose confidence is zero or not a number are left out.
    """
    counts = confidence > 0
    pairs, first = unique_pairs(pixel_1[counts], pixel_2[counts])
    confidence = confidence[counts][first]
    dtype = torch.promote_types(confidence.dtype, torch.float32)  # half precision cannot count a photo's pixels
    xy_1, xy_2 = _xy(pairs.pixel_1, size_1_hw[1]), _xy(pairs.pixel_2, size_2_hw[1])
    return Correspondences(xy_1.to(dtype), xy_2.to(dtype), confidence.to(dtype))


def _both_ways(
    one: Descriptors, two: Descriptors, step: int, tolerance_px: float = 0.0
) -> tuple[Int64[Tensor, "p"], Int64[Tensor, "p"]]:
    """Flat pixels of the matches from `one` to `two`, followed by those from `two` to `one`."""
    maps = DescriptorMaps(one.D, two.D)
    there, back = (
        matches_of_pixels(m, m.starts(step), tolerance_px=tolerance_px)
        if tolerance_px > 0
        else reciprocal_matches(m, step=step)
        for m in (maps, maps.swapped())
    )
    return torch.cat((there.pixel_1, back.pixel_2)), torch.cat((there.pixel_2, back.pixel_1))


def _at(values: Float[Tensor, "h w"], pixels: Int64[Tensor, "p"]) -> Float[Tensor, "p"]:
    return values.flatten()[pixels]


def _xy(pixels: Int64[Tensor, "p"], width: int) -> Int64[Tensor, "p 2"]:
    return torch.stack((pixels % width, pixels // width), dim=-1)
