"""Which photos look alike, so that many photos need not all be compared with each other.

A photo becomes one unit vector, a *global descriptor*: the mean of a network's encoder tokens (`pooled_tokens`), or,
with no weights at all, its layout of colour and edges (`thumbnail`); anything that maps a photo to a vector will do.
The cosine of two such vectors is their similarity. The retrieval graph follows MASt3R-SfM (Duisterhof et al. 2024,
arXiv:2409.19152, §4.1): anchors as unlike each other as can be are all compared, every other photo is compared with the
anchor it resembles most, and every photo with those nearest to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from rilievo.errors import clear

CELLS = 8
"""The thumbnail is this many cells high and wide: enough to tell photos apart, coarse enough to forgive small turns."""
ORIENTATIONS = 8
WORKING_SIZE_PX = 128
"""Edges are found at this size, so that a photo's resolution does not matter."""


def similarity(descriptors: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """Cosines between global descriptors, in [-1, 1]; a descriptor that is zero resembles nothing but itself.

    Raises `UserError` where a descriptor is not finite.
    """
    broken = (~descriptors.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if broken:
        raise clear(
            "global descriptors",
            expected="finite numbers",
            got=f"NaN or inf for photo {broken[0]}",
            do="look at that photo, or use matching.retrieval.thumbnail",
        )
    unit = F.normalize(descriptors, dim=1)
    cosines = (unit @ unit.mT).clamp(-1, 1)
    return cosines.fill_diagonal_(1)


def describe(
    photos: Iterable[UInt8[np.ndarray, "_h _w 3"]], descriptor: Callable[[np.ndarray], Float[Tensor, "d"]]
) -> Float[Tensor, "n d"]:
    """Global descriptors of photos, which are looked at one at a time."""
    return torch.stack([descriptor(photo) for photo in photos])


def pooled_tokens(
    tokens: Float[Tensor, "tokens d"], inside: Bool[Tensor, "tokens"] | None = None
) -> Float[Tensor, "d"]:
    """The mean direction of an encoder's tokens, those `inside` a mask where one is given and not empty."""
    if inside is not None and bool(inside.any()):
        tokens = tokens[inside]
    return F.normalize(F.normalize(tokens.float(), dim=1).mean(dim=0), dim=0)


def thumbnail(photo: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"] | None = None) -> Float[Tensor, "d"]:
    """Where a photo has which colours and which edges, as a unit vector; it needs no weights.

    Colours are cell means less the mean of all, so that exposure matters little; edges are gradient magnitudes by
    orientation (without sign) and cell, as in HOG (Dalal & Triggs 2005). Both halves have unit length before they are
    joined. Only what the mask marks counts, where it marks anything: a turntable's background is the same everywhere.
    """
    rgb = torch.tensor(photo).permute(2, 0, 1)[None].float() / 255
    inside = torch.ones_like(rgb[:, :1])
    if mask is not None and mask.any():
        inside = torch.tensor(mask)[None, None].float()
    size = (WORKING_SIZE_PX, WORKING_SIZE_PX)
    inside = F.interpolate(inside, size, mode="area")
    rgb = F.interpolate(rgb, size, mode="area")
    weight = F.adaptive_avg_pool2d(inside, CELLS)
    colour = F.adaptive_avg_pool2d(rgb * inside, CELLS) / weight.clamp_min(1e-6)
    mean = (colour * weight).sum(dim=(2, 3), keepdim=True) / weight.sum()
    colour = (colour - mean) * weight
    edges = F.adaptive_avg_pool2d(_edges(rgb.mean(dim=1, keepdim=True)) * inside, CELLS).sqrt()
    halves = (F.normalize(colour.flatten(), dim=0), F.normalize(edges.flatten() - edges.mean(), dim=0))
    return F.normalize(torch.cat(halves), dim=0)


def _edges(grey: Float[Tensor, "1 1 h w"]) -> Float[Tensor, "1 orientations h w"]:
    """Gradient magnitude, shared between the two orientations nearest to the gradient's."""
    dy, dx = torch.gradient(grey, dim=(2, 3))
    place = torch.atan2(dy, dx).remainder(torch.pi) * (ORIENTATIONS / torch.pi)
    orientation = torch.arange(ORIENTATIONS, dtype=grey.dtype).view(1, -1, 1, 1)
    apart = (place - orientation).abs()
    near = (1 - torch.minimum(apart, ORIENTATIONS - apart)).clamp_min(0)
    return near * torch.hypot(dx, dy)


def farthest_points(distance: Float[Tensor, "n n"], count: int, first: int) -> list[int]:
    """Up to `count` indices, each the farthest from all before it, beginning with `first` (Gonzalez 1985)."""
    chosen = [first]
    nearest = distance[first].clone()
    while len(chosen) < min(count, len(distance)):
        nearest[chosen] = -torch.inf  # a duplicate of a chosen photo is at distance 0 too
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, distance[chosen[-1]])
    return chosen


def retrieval_pairs(
    similarity: Float[Tensor, "n n"], *, anchors: int, nearest: int, first: int | None = None
) -> list[tuple[int, int]]:
    """The retrieval graph's pairs, each once.

    `nearest` counts as the published graphs do, a photo itself being the first of those nearest to it: 10 gives nine
    others. `first` is the first anchor, the photo most like all others where left out (the published code draws it at
    random). With one anchor or more the graph is connected.
    """
    photos = len(similarity)
    pairs: dict[tuple[int, int], None] = {}
    chosen: list[int] = []
    if anchors:
        first = int(similarity.double().sum(dim=1).argmax()) if first is None else first
        chosen = farthest_points(1 - similarity, anchors, first)
        pairs.update(dict.fromkeys((i, j) for place, i in enumerate(chosen) for j in chosen[place + 1 :]))
        for i in sorted(set(range(photos)) - set(chosen)):
            pairs[i, chosen[int(similarity[i, chosen].argmax())]] = None
    others = similarity.clone().fill_diagonal_(-torch.inf)
    for i in range(photos):
        alike = others[i].argsort(descending=True, stable=True)[: min(max(nearest - 1, 0), photos - 1)]
        pairs.update(dict.fromkeys((i, j) for j in alike.tolist()))
    once = {(min(pair), max(pair)): pair for pair in reversed(pairs)}
    return sorted(once.values())
