"""From a network's raw channels to points, confidences and unit descriptors (DUSt3R §3; MASt3R §3.2).

A raw vector v becomes the point v/|v| · (exp|v| - 1), so that points near and far are equally easy to say; a raw
confidence c becomes 1 + exp c, always above one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-8
"""Raw vectors shorter than this are taken for this long, so that zero becomes the point zero."""


@dataclass(frozen=True)
class Bounded:
    """How raw values are opened up, and between which bounds."""

    curve: Literal["exp", "square", "linear", "sigmoid"] = "exp"
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Pointmaps:
    """What a network says of one picture of each pair in a batch; a picture stored sideways is answered sideways."""

    X: Float[Tensor, "b h w 3"]
    """Points in the frame of the pair's first camera, in the pair's own unit."""
    C: Float[Tensor, "b h w"]
    """Confidence of the points."""
    D: Float[Tensor, "b h w d"] | None = None
    """Unit descriptors, where the network has them."""
    Q: Float[Tensor, "b h w"] | None = None
    """Confidence of the descriptors."""

    def axes_swapped(self) -> Pointmaps:
        """The same maps with rows and columns exchanged; the points stay where they are in space."""
        return self._each(lambda part: part.transpose(1, 2))

    def at(self, which: slice | Tensor) -> Pointmaps:
        """Some of the batch."""
        return self._each(lambda part: part[which])

    @staticmethod
    def mixed(lying: Pointmaps, standing: Pointmaps, sideways: Tensor) -> Pointmaps:
        """One batch out of two: where `sideways` is true the next of `standing`, else the next of `lying`."""
        place = torch.cat(((~sideways).nonzero(), sideways.nonzero())).flatten().argsort()

        def joined(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return None if a is None or b is None else torch.cat((a, b))[place]

        X, C = torch.cat((lying.X, standing.X))[place], torch.cat((lying.C, standing.C))[place]
        return Pointmaps(X, C, joined(lying.D, standing.D), joined(lying.Q, standing.Q))

    def _each(self, change) -> Pointmaps:
        D, Q = (None if part is None else change(part) for part in (self.D, self.Q))
        return Pointmaps(change(self.X), change(self.C), D, Q)


def open_points(raw: Float[Tensor, "*b 3"], mode: Bounded) -> Float[Tensor, "*b 3"]:
    """Points of raw vectors. Bounds apply to `linear` alone, as published."""
    if mode.curve == "linear":
        return raw.clamp(mode.low, mode.high)
    length = torch.linalg.vector_norm(raw, dim=-1, keepdim=True)
    stretched = length.expm1() if mode.curve == "exp" else length.square()
    return raw / length.clamp_min(TINY) * stretched


def open_confidence(raw: Float[Tensor, "*b"], mode: Bounded) -> Float[Tensor, "*b"]:
    """Confidences of raw numbers: low + exp, at most high; or a sigmoid between low and high."""
    if mode.curve == "sigmoid":
        return (mode.high - mode.low) * raw.sigmoid() + mode.low
    return mode.low + raw.exp().clamp(max=mode.high - mode.low)


def unit_descriptors(raw: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Raw vectors at length one; a raw zero gives NaN, which matches nothing."""
    return raw / torch.linalg.vector_norm(raw, dim=-1, keepdim=True)


def open_channels(
    raw: Float[Tensor, "b c h w"],
    depth_mode: Bounded,
    conf_mode: Bounded,
    descriptor_channels: int = 0,
    desc_conf_mode: Bounded | None = None,
) -> Pointmaps:
    """Raw channels are the point (3), its confidence (1), the descriptor, and the descriptor's confidence where
    `desc_conf_mode` is given; otherwise descriptors are as trustworthy as points.
    """
    raw = raw.permute(0, 2, 3, 1)
    X, C = open_points(raw[..., :3], depth_mode), open_confidence(raw[..., 3], conf_mode)
    if not descriptor_channels:
        return Pointmaps(X, C)
    D = unit_descriptors(raw[..., 4 : 4 + descriptor_channels])
    Q = C.clone() if desc_conf_mode is None else open_confidence(raw[..., 4 + descriptor_channels], desc_conf_mode)
    return Pointmaps(X, C, D, Q)
