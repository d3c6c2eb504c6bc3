"""NeRO's rendered scenes, GlossySynthetic: `0.png`, `0-camera.pkl`, `0-depth.png`, `1.png`, … in one folder.

A camera file is a pickle of [cam_from_world 3x4, K 3x3], OpenCV axes, pixel centres at +0.5. The object lies in the
unit sphere round the origin. Depth (16 bits for 0 to 15 units, 14.5 and more for the background) is the truth to
compare with, not an input, so neither it nor the mask in it is used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rilievo.data.frame import Frame, Listing, Split, pose_matrix
from rilievo.data.nero_split import LISTED_TEST_VIEWS, LISTED_VIEWS, shuffled_split
from rilievo.data.scene import Dropped, Region
from rilievo.errors import UserError, clear
from rilievo.io.array_pickle import read_array_pickle

DEPTH_RANGE, BACKGROUND_DEPTH = 15.0, 14.5


def is_nero_synthetic(folder: Path) -> bool:
    return (folder / "0-camera.pkl").is_file()


def list_nero_synthetic(folder: Path) -> Listing:
    """Views by number; one whose camera cannot be read is dropped and told."""
    numbers = sorted(int(stem) for path in folder.glob("*-camera.pkl") if (stem := path.name[:-11]).isdigit())
    held_out = _test_views(numbers)
    frames: list[Frame] = []
    dropped: list[Dropped] = []
    for k in numbers:
        photo = folder / f"{k}.png"
        if not photo.is_file():
            dropped.append(Dropped(photo.name, "its file is missing"))
            continue
        try:
            cam_from_world, K = _camera(folder / f"{k}-camera.pkl")
        except UserError as error:
            dropped.append(Dropped(photo.name, f"its camera cannot be read ({error})"))
            continue
        split = Split.TEST if k in held_out else Split.TRAIN
        frames.append(Frame(photo.name, photo, np.linalg.inv(cam_from_world), K, split=split))
    return Listing(
        "NeRO GlossySynthetic",
        tuple(frames),
        region=Region(np.zeros(3), 1.0, "the unit sphere, as GlossySynthetic has it"),
        dropped=tuple(dropped),
        notes=(f"{len(held_out)} test views by the published rule",),
    )


def depth_of(stored: np.ndarray) -> Float32[np.ndarray, "h w"]:
    """Depth along camera z from the stored 16 bits; infinite for the background."""
    depth = stored.astype(np.float32) / 65535 * DEPTH_RANGE
    return np.where(depth < BACKGROUND_DEPTH, depth, np.inf).astype(np.float32)


def _test_views(numbers: list[int]) -> set[int]:
    if numbers == list(range(LISTED_VIEWS)):
        return set(LISTED_TEST_VIEWS)
    _, held_out = shuffled_split([str(k) for k in numbers])
    return {int(name) for name in held_out} if len(numbers) > 1 else set()


def _camera(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """cam_from_world 4x4 and K 3x3 in double precision."""
    content = read_array_pickle(path)
    if isinstance(content, (list, tuple)) and len(content) == 2:
        cam_from_world, K = pose_matrix(content[0]), np.asarray(content[1], dtype=np.float64)
        if K.shape == (3, 3) and np.isfinite(cam_from_world).all() and np.linalg.det(cam_from_world) > 0.5:
            return cam_from_world, K
    raise clear(str(path), expected="[cam_from_world 3x4, K 3x3]", got="something else", do="copy the capture again")
