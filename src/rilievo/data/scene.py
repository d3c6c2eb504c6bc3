"""What a capture is, once it has been read: the one thing every method starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from rilievo.cameras.camera import Cameras


class MaskMeaning(StrEnum):
    """What lies outside a mask."""

    OBJECT = "object"
    """Nothing: outside the mask space is empty along the ray (a cut-out object)."""
    IGNORE = "ignore"
    """Unknown: outside the mask the photo supervises nothing (a passer-by, a turntable's background)."""


@dataclass(frozen=True)
class PointCloud:
    """Sparse points that came with the capture."""

    xyz: Float64[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"] | None = None


@dataclass(frozen=True)
class Region:
    """The region of interest: a ball that holds what is to be reconstructed."""

    center: Float64[np.ndarray, "3"]
    radius: float
    reason: str
    """How it was found, in words for the user: "mask hull of 60 views", "--region", …"""


@dataclass(frozen=True)
class Dropped:
    """A frame that was listed but could not be used."""

    name: str
    reason: str


@dataclass(frozen=True)
class Scene:
    """Posed photographs in one frame, our conventions (`Cameras`), images 8-bit sRGB.

    `images[i]` is uint8 [h, w, 3]; `coverage[i]` is uint8 [h, w], 255 on the object, with grey edges where the capture has an
    alpha matte. Sequences decode on access, so a scene of a thousand photos costs nothing to open.
    """

    name: str
    cameras: Cameras
    names: tuple[str, ...]
    images: Sequence[UInt8[np.ndarray, "h w 3"]]
    coverage: Sequence[UInt8[np.ndarray, "h w"]] | None
    mask_meaning: MaskMeaning | None
    test_views: tuple[int, ...]
    """Indices held out from training; `evaluate` measures on them."""
    region: Region
    points: PointCloud | None = None
    times: Float[Tensor, "n"] | None = None
    """In [0, 1] where the capture is a video."""
    capture_from_world: Float64[Tensor, "4 4"] = torch.eye(4, dtype=torch.float64)  # noqa: RUF009 never written to
    """Similarity back to the frame the capture was given in: results leave through it."""
    dropped: tuple[Dropped, ...] = ()
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def train_views(self) -> tuple[int, ...]:
        held_out = set(self.test_views)
        return tuple(i for i in range(len(self)) if i not in held_out)
