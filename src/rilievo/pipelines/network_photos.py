"""Photographs and their masks as a network sees them, and the way back to the photo's own pixels.

The network sees the untouched photo. A mask is scaled and cut with its photo, and a pixel is on the object where more
than half of it is: masks act on what the network *says*, never on what it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from rilievo.data.scene import Dropped
from rilievo.errors import UserError
from rilievo.matching.pair_key import content_key
from rilievo.pointmaps.photo import Framing, PreparedPhoto
from rilievo.pointmaps.predictor import PairPredictor
from rilievo.sfm.photos import Photo

Prepare = Callable[[Path], PreparedPhoto]
"""How a predictor wants its photos."""


@runtime_checkable
class PhotoPredictor(PairPredictor, Protocol):
    """A `PairPredictor` that says how it wants its photos."""

    def prepare(self, path: Path) -> PreparedPhoto:
        """The photo in a file, scaled and cut. Raises `UserError` naming the file where it cannot be used."""


@dataclass(frozen=True)
class NetworkPhoto:
    """A photo scaled and cut for a network, with its mask."""

    photo: Photo
    prepared: PreparedPhoto
    mask: Bool[Tensor, "h w"] | None

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.prepared.size_hw

    @property
    def is_hidden(self) -> bool:
        """Whether the mask leaves nothing of it."""
        return self.mask is not None and not bool(self.mask.any())

    def key(self) -> str:
        """Names the content of the photo and of its mask."""
        return content_key(self.photo.path, self.photo.mask)


def prepare_photos(photos: Sequence[Photo], prepare: Prepare) -> tuple[list[NetworkPhoto], list[Dropped]]:
    """All photos that the network can look at, in order, and the others with their reasons."""
    prepared, dropped = [], []
    for photo in photos:
        try:
            picture = prepare(photo.path)
        except UserError as error:
            dropped.append(Dropped(photo.name, f"the network cannot look at it ({error})"))
            continue
        pixels = photo.mask_pixels()
        mask = None if pixels is None else framed_mask(pixels, picture.framing)
        prepared.append(NetworkPhoto(photo, picture, mask))
    return prepared, dropped


def framed_mask(pixels: UInt8[np.ndarray, "h w"], framing: Framing) -> Bool[Tensor, "_h _w"]:
    """A mask of the photo's size, 255 on the object, scaled and cut as its photo was."""
    scaled = Image.fromarray(np.ascontiguousarray(pixels)).resize(framing.scaled_px, Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(scaled.crop(framing.crop_px)) >= 128)


def masks_of(photos: Sequence[NetworkPhoto]) -> list[Bool[Tensor, "_h _w"]] | None:
    """One mask per photo, True all over where a photo has none; None where no photo has any."""
    if all(photo.mask is None for photo in photos):
        return None
    return [torch.ones(photo.size_hw, dtype=torch.bool) if photo.mask is None else photo.mask for photo in photos]
