"""What a capture is, once it has been read: the one thing every method starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.data.depth_file import DepthFile
from rilievo.data.stored import Pictures, StoredImages


class MaskMeaning(StrEnum):
    """What lies outside a mask."""

    OBJECT = "object"
    """Nothing: outside the mask space is empty along the ray (a cut-out object)."""
    IGNORE = "ignore"
    """Unknown: outside the mask the photo supervises nothing (a passer-by, a turntable's background)."""
    MOVING = "moving"
    """What stands still: inside the mask of a clip's frame something moves (`Scene.moving`)."""


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

    `images[i]` is uint8 [h, w, 3]; `coverage[i]` is uint8 [h, w], 255 on the object, with grey edges where the capture
    has an alpha matte. Sequences decode on access, so a scene of a thousand photos costs nothing to open. Photos may
    differ in size.
    """

    name: str
    cameras: Cameras
    names: tuple[str, ...]
    images: Pictures
    coverage: Pictures | None
    mask_meaning: MaskMeaning | None
    test_views: tuple[int, ...]
    """Indices held out from training; `evaluate` measures on them."""
    region: Region
    points: PointCloud | None = None
    times: Float[Tensor, "n"] | None = None
    """In [0, 1] where the capture is a video."""
    moving: Pictures | None = None
    """Where a clip says so: `moving[i]` is uint8 [h, w], above 0 on what moves."""
    depth_files: tuple[DepthFile | None, ...] | None = None
    """Depth beside the photos, None for those without; see `depth`."""
    flow_files: tuple[Mapping[str, Path], ...] | None = None
    """Optical flow beside the photos: for each, files by the name of the photo that they lead to."""
    capture_from_world: Float64[Tensor, "4 4"] = torch.eye(4, dtype=torch.float64)
    """Similarity back to the frame the capture was given in: results leave through it."""
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()
    """What was found, assumed and left out, a sentence each, for the user."""
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def train_views(self) -> tuple[int, ...]:
        held_out = set(self.test_views)
        return tuple(i for i in range(len(self)) if i not in held_out)

    def time_of(self, i: int) -> float | None:
        """When photo `i` was taken, in [0, 1] over the clip; None where photos have no times."""
        return None if self.times is None else float(self.times[i])

    def depth(self, i: int) -> Float[np.ndarray, "_h _w"] | None:
        """Depth beside photo `i` along camera z, in units of the capture, 0 where unknown; None where there is none.

        Raises `UserError` as `DepthFile.read` does.
        """
        file = None if self.depth_files is None else self.depth_files[i]
        width, height = self.cameras.sizes_px[i].tolist()
        return None if file is None else file.read((width, height))

    def photograph(self, i: int) -> Float[np.ndarray, "_h _w 3"]:
        """Photo `i` in [0, 1] as a model shows it: over white where object masks say that nothing else is there."""
        photo = self.images[i].astype(np.float32) / 255
        if self.coverage is None or self.mask_meaning is not MaskMeaning.OBJECT:
            return photo
        alpha = self.coverage[i][..., None].astype(np.float32) / 255
        return photo * alpha + (1 - alpha)

    @property
    def is_normalised(self) -> bool:
        """The region is the unit ball at the origin."""
        return self.region.radius == 1.0 and not self.region.center.any()

    def normalised(self) -> Scene:
        """The same capture in a world whose origin and unit are the region's centre and radius.

        `capture_from_world` absorbs the change, so what leaves through it lands where it did before.
        """
        if self.is_normalised:
            return self
        unit_from_world = np.eye(4)
        unit_from_world[:3, :3] /= self.region.radius
        unit_from_world[:3, 3] = -self.region.center / self.region.radius
        moved = self.transformed(unit_from_world)
        return replace(moved, region=Region(np.zeros(3), 1.0, self.region.reason))  # exact, where moving it rounds

    def in_capture_frame(self) -> Scene:
        """The same capture in the frame it was given in, where `capture_from_world` is the identity."""
        moved = self.transformed(self.capture_from_world.numpy())
        return replace(moved, capture_from_world=torch.eye(4, dtype=torch.float64))

    def transformed(self, new_from_world: Float64[np.ndarray, "4 4"]) -> Scene:
        """The same capture in another frame, given the similarity to it: cameras, points and region move together."""
        A, t = new_from_world[:3, :3], new_from_world[:3, 3]
        scale = float(np.cbrt(np.linalg.det(A)))
        world_from_new = np.eye(4)
        world_from_new[:3, :3] = A.T / scale**2
        world_from_new[:3, 3] = -A.T @ t / scale**2
        return replace(
            self,
            cameras=self.cameras.transformed(torch.from_numpy(new_from_world)),
            region=Region(A @ self.region.center + t, self.region.radius * scale, self.region.reason),
            points=self.points and replace(self.points, xyz=self.points.xyz @ A.T + t),
            capture_from_world=self.capture_from_world @ torch.from_numpy(world_from_new),
        )

    def subset(self, views: Sequence[int]) -> Scene:
        """The capture with the photos `views` alone, in that order; the region stays."""
        held_out = set(self.test_views)
        return replace(
            self,
            cameras=self.cameras[list(views)],
            names=tuple(self.names[i] for i in views),
            images=_pick(self.images, views),
            coverage=None if self.coverage is None else _pick(self.coverage, views),
            moving=None if self.moving is None else _pick(self.moving, views),
            depth_files=self.depth_files and tuple(self.depth_files[i] for i in views),
            flow_files=self.flow_files and tuple(self.flow_files[i] for i in views),
            test_views=tuple(new for new, old in enumerate(views) if old in held_out),
            times=None if self.times is None else self.times[list(views)],
        )


def _pick(pictures: Pictures, views: Sequence[int]) -> Pictures:
    return pictures.pick(views) if isinstance(pictures, StoredImages) else tuple(pictures[i] for i in views)
