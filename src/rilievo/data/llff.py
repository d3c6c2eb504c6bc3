"""The layout of LLFF (Mildenhall et al. 2019): `poses_bounds.npy`, a row for each photo of `images/`.

A row is a 3x5 matrix and two depth bounds. The matrix's columns are the camera's axes down, right and backward in the
world, its centre, and (height, width, focal length in pixels). Ours are right, down, forward: the first two change
places and the third turns round. The bounds are not used. Photos of a clip, told by `mv_images/` beside them (Yoon et
al. 2020, as prepared for NSFF), are one per time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from rilievo.data.frame import Frame, Listing, pinhole
from rilievo.data.image_files import images_in
from rilievo.errors import clear

POSES_FILE = "poses_bounds.npy"
PHOTO_FOLDERS = ("images", "images_2", "images_4", "images_8")


@dataclass(frozen=True)
class PosedLens:
    """One row: a camera in our axes; all NaN where the row is not finite."""

    world_from_cam: Float64[np.ndarray, "4 4"]
    K: Float64[np.ndarray, "3 3"]
    size_px: tuple[int, int] | None
    """Width and height that K is for."""


def is_llff(folder: Path) -> bool:
    return (folder / POSES_FILE).is_file() and any((folder / name).is_dir() for name in PHOTO_FOLDERS)


def list_llff(folder: Path) -> Listing:
    """Photos in the order of their names. Raises `UserError` when there are not as many as rows."""
    lenses = read_poses_bounds(folder / POSES_FILE)
    where = next(folder / name for name in PHOTO_FOLDERS if (folder / name).is_dir())
    photos = [path for path in images_in(where) if path.parent == where]
    if len(photos) != len(lenses):
        raise clear(
            str(where),
            expected=f"{len(lenses)} photos, one for each row of {POSES_FILE}",
            got=f"{len(photos)}",
            do="give the photos that the poses were found for, and no others",
        )
    is_clip = (folder / "mv_images").is_dir()
    frames = [
        Frame(
            path.relative_to(folder).as_posix(),
            path,
            lens.world_from_cam,
            lens.K,
            lens.size_px,
            time=i / max(len(photos) - 1, 1) if is_clip else None,
        )
        for i, (path, lens) in enumerate(zip(photos, lenses))
    ]
    return Listing(f"LLFF {POSES_FILE}", tuple(frames))


def read_poses_bounds(path: Path) -> list[PosedLens]:
    """The rows as cameras. Raises `UserError` when the file is no array [n, 17]."""
    try:
        rows = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise clear(str(path), expected="a NumPy array", got=str(error), do="copy the capture again") from error
    if rows.ndim != 2 or rows.shape[1] != 17 or len(rows) == 0:
        raise clear(str(path), expected="an array [n, 17]", got=f"an array {rows.shape}", do="export the poses again")
    return [_posed_lens(row) for row in rows]


def _posed_lens(row: Float64[np.ndarray, "17"]) -> PosedLens:
    matrix = row[:15].reshape(3, 5)
    height, width, focal_px = matrix[:, 4]
    if not np.isfinite(matrix).all() or min(height, width) < 1:
        return PosedLens(np.full((4, 4), np.nan), np.full((3, 3), np.nan), None)
    down, right, backward, center = matrix[:, :4].T
    pose = np.eye(4)
    pose[:3] = np.stack((right, down, -backward, center), axis=1)
    return PosedLens(pose, pinhole(focal_px, focal_px, width / 2, height / 2), (round(width), round(height)))
