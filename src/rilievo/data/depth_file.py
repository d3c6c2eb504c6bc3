"""Depth that lies beside the photos of a capture: a file per frame, measured or estimated from the photo alone.

A file holds one number per pixel along camera z, larger being farther; what is not finite and positive is unknown. It
may be an .npz (array `depth`, or its only one), an .npy, or a picture of 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

from rilievo.errors import clear

SUFFIXES = (".npz", ".npy", ".png")
SHAPE_SLACK = 0.02
"""Largest relative difference of two aspect ratios that are the same."""


@dataclass(frozen=True)
class DepthFile:
    """Depth of a frame: `scale` times what the file says, plus `shift`, in units of the capture."""

    path: Path
    scale: float = 1.0
    shift: float = 0.0
    trusted: Path | None = None
    """A picture that is 0 where the depth is not to be used."""

    def read(self, size_px: tuple[int, int]) -> Float[np.ndarray, "h w"]:
        """float32 at a frame's (width, height), taken from the nearest pixel; 0 where unknown.

        Raises `UserError` for a file that is damaged, holds no picture, has another shape than the frame, or is nowhere
        finite and positive.
        """
        depth = _number_per_pixel(self.path) * np.float32(self.scale) + np.float32(self.shift)
        known = np.isfinite(depth) & (depth > 0)
        if self.trusted is not None:
            known &= _resized(_number_per_pixel(self.trusted), (known.shape[1], known.shape[0])) > 0
        if not known.any():
            raise clear(
                f"depth {self.path}",
                expected="finite numbers above 0",
                got="none",
                do="estimate it again, or leave it out",
            )
        (width, height), (rows, columns) = size_px, depth.shape
        if abs((columns / rows) / (width / height) - 1) > SHAPE_SLACK:
            raise clear(
                f"depth {self.path}",
                expected=f"the shape of its frame, {width}x{height} pixels",
                got=f"{columns}x{rows}",
                do="estimate depth of the frame itself, uncropped",
            )
        return _resized(np.where(known, depth, np.float32(0)), size_px)


def find_depth(folder: Path, name: str) -> DepthFile | None:
    """The file in `folder` that has the stem of the photo called `name`."""
    stem = Path(name).stem
    found = next((path for path in (folder / f"{stem}{suffix}" for suffix in SUFFIXES) if path.is_file()), None)
    return None if found is None else DepthFile(found)


def _number_per_pixel(path: Path) -> Float[np.ndarray, "_h _w"]:
    try:
        found = _array_in(path)
    except (OSError, ValueError, EOFError, IndexError, BadZipFile) as error:
        raise clear(f"depth {path}", expected="a sound depth file", got=str(error), do="export it again") from error
    if found.ndim == 3 and found.shape[2] == 1:
        found = found[..., 0]
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise clear(
            f"depth {path}",
            expected="one number per pixel",
            got=f"an array of shape {found.shape} and type {found.dtype}",
            do="export depth itself, not a picture of it",
        )
    return found.astype(np.float32)


def _array_in(path: Path) -> Shaped[np.ndarray, "..."]:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return archive["depth" if "depth" in archive.files else archive.files[0]]
    with Image.open(path) as picture:
        return np.asarray(picture)


def _resized(values: Float[np.ndarray, "_h _w"], size_px: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """The nearest pixel's number, so that nothing is mixed across an edge."""
    width, height = size_px
    if values.shape == (height, width):
        return values
    rows = (np.arange(height) * values.shape[0] / height).astype(np.int64)
    columns = (np.arange(width) * values.shape[1] / width).astype(np.int64)
    return values[rows[:, None], columns]
