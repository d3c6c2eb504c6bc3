"""Photos as the networks were trained to see them (DUSt3R's `load_images`).

A photo is turned upright by its EXIF orientation, its alpha dropped, and scaled until its long side is `size_px`: with
Lanczos where it shrinks, bicubic where it grows or stays. Then its middle is cut out so that both sides are multiples
of the patch. Two peculiarities are kept: a square photo loses a quarter of its height (networks saw no squares in
training) unless `square_ok`; and for networks of 224 px the *short* side is scaled and the middle square kept. Cutting
4:3 out of a square gives whole patches only where `size_px` is a multiple of 64.

`PreparedPhoto.photo_from_input` leads back to the photo's own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from PIL import Image
from torch import Tensor

from rilievo.errors import clear
from rilievo.io.image import read_color

SQUARE_NETWORK_PX = 224
"""The size that published code takes for a network of squares."""


@dataclass(frozen=True)
class Framing:
    """How a photo is scaled and cut."""

    photo_px: tuple[int, int]
    """Width and height of the upright photo."""
    scaled_px: tuple[int, int]
    """Width and height once scaled."""
    crop_px: tuple[int, int, int, int]
    """Left, top, right, bottom of what is kept, in the scaled photo."""

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of what the network sees."""
        left, top, right, bottom = self.crop_px
        return right - left, bottom - top

    @property
    def photo_from_input(self) -> Float64[Tensor, "3 3"]:
        """Takes pixels of the network's picture to pixels of the upright photo, both with centres at +0.5."""
        sx, sy = (photo / scaled for photo, scaled in zip(self.photo_px, self.scaled_px))
        left, top = self.crop_px[:2]
        return torch.tensor([[sx, 0, sx * left], [0, sy, sy * top], [0, 0, 1]], dtype=torch.float64)


@dataclass(frozen=True)
class PreparedPhoto:
    """A photo scaled and cut for a network."""

    pixels: UInt8[np.ndarray, "h w 3"]
    """sRGB."""
    framing: Framing

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def photo_from_input(self) -> Float64[Tensor, "3 3"]:
        """See `Framing.photo_from_input`."""
        return self.framing.photo_from_input


def frame(
    photo_px: tuple[int, int], size_px: int, *, square_ok: bool = False, patch_px: int = 16, name: str = "photo"
) -> Framing:
    """Where a photo of this width and height is scaled to and cut, for a network of `size_px`.

    Raises `UserError` where nothing of it would be left: a strip so narrow that no patch fits in; `name` is for that
    sentence.
    """
    width, height = photo_px
    squares = size_px == SQUARE_NETWORK_PX
    long_px = round(size_px * max(width / height, height / width)) if squares else size_px
    scaled = (round(width * long_px / max(photo_px)), round(height * long_px / max(photo_px)))
    if min(scaled) < patch_px:
        raise clear(
            name,
            expected=f"both sides to be at least {patch_px} px once the long side is scaled to {long_px} px",
            got=f"{width} x {height} px",
            do="crop the photo, or leave it out",
        )
    cx, cy = scaled[0] // 2, scaled[1] // 2
    if squares:
        half_w = half_h = float(min(cx, cy))
    else:
        half_w, half_h = (2 * cx // patch_px * patch_px / 2, 2 * cy // patch_px * patch_px / 2)
        if scaled[0] == scaled[1] and not square_ok:
            half_h = 3 * half_w / 4
    left, top, right, bottom = (round(edge) for edge in (cx - half_w, cy - half_h, cx + half_w, cy + half_h))
    return Framing(photo_px, scaled, (left, top, right, bottom))


def prepare(
    pixels: UInt8[np.ndarray, "h w 3"],
    size_px: int,
    *,
    square_ok: bool = False,
    patch_px: int = 16,
    name: str = "photo",
) -> PreparedPhoto:
    """An upright sRGB photo, scaled and cut. Raises `UserError` as `frame`."""
    photo_px = (pixels.shape[1], pixels.shape[0])
    framing = frame(photo_px, size_px, square_ok=square_ok, patch_px=patch_px, name=name)
    shrinks = max(framing.photo_px) > max(framing.scaled_px)
    kernel = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    scaled = Image.fromarray(np.ascontiguousarray(pixels)).resize(framing.scaled_px, kernel)
    return PreparedPhoto(np.array(scaled.crop(framing.crop_px)), framing)


def prepare_file(path: Path, size_px: int, *, square_ok: bool = False, patch_px: int = 16) -> PreparedPhoto:
    """The photo in a file, scaled and cut. Raises `UserError` naming the file where it cannot be decoded or used."""
    return prepare(read_color(path), size_px, square_ok=square_ok, patch_px=patch_px, name=f"photo {path}")


def normalized(pixels: UInt8[Tensor, "*b h w 3"]) -> Float[Tensor, "*b 3 h w"]:
    """sRGB bytes as the network's numbers in [-1, 1], channels first."""
    return ((pixels.float() / 255 - 0.5) / 0.5).movedim(-1, -3).contiguous()
