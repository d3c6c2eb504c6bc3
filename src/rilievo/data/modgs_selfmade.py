"""The layout of MoDGS (Liu et al. 2024) for clips from one fixed camera: frames `rgb/<k>x/<number>.png`, depth in
`GeoWizardOut/`, flow in `raft_exhaustive/`.

The camera stands at the origin with the identity for its rotation, and its focal length is not measured: the published
loader takes 800 px at half size, the middle of the photo for principal point, and so do we, with a note. A frame's time
is its number over the largest one; where a denser set of frames stands in `rgb_interlval1/` (spelt so), over the number
of those, less one. All frames train, as published.

The published loader moves the world into [-1, 1] by `re_scale.json`, which its first stage leaves in the capture. Here
the world is the one that depth and flow are in, and `Scene.transformed` moves it for whoever wants that; it also
derives its first stage's times from positions in the list, at odds with those above, which all of rilievo uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rilievo.data.frame import Frame, Listing, Split, pinhole
from rilievo.data.image_files import images_in, size_if_readable
from rilievo.data.modgs_depth_flow import Companions
from rilievo.data.scaled_photos import scaled_photos
from rilievo.data.scene import Dropped
from rilievo.errors import clear

FOCAL_PX, FOCAL_FACTOR = 800.0, 2
"""The published guess: 800 px for photos shrunk by 2."""
MARKS = ("GeoWizardOut", "raft_exhaustive", "__scene.json", "*.mp4")
"""Any of these says that the photos of `rgb/<k>x` are a clip from a fixed camera."""
DENSE_FOLDER = "rgb_interlval1"


def is_modgs_selfmade(folder: Path) -> bool:
    return scaled_photos(folder) is not None and any(next(folder.glob(mark), None) is not None for mark in MARKS)


def list_modgs_selfmade(folder: Path) -> Listing:
    """Frames by number. Raises `UserError` when no frame has a number."""
    clip = fixed_clip(folder)
    focal_px = FOCAL_PX * FOCAL_FACTOR / clip.factor
    return Listing(
        f"a clip from a fixed camera (MoDGS), photos of rgb/{clip.factor}x",
        clip.frames,
        dropped=clip.dropped,
        notes=(f"the capture has no focal length: {focal_px:g} px is assumed",),
    )


@dataclass(frozen=True)
class FixedClip:
    """Frames of a camera that stands at the origin, and the number of the last one."""

    frames: tuple[Frame, ...]
    dropped: tuple[Dropped, ...]
    last: int
    factor: int
    """How much smaller than at full size the photos are."""


def fixed_clip(folder: Path) -> FixedClip:
    """The numbered frames of `rgb/<k>x`, with the assumed focal length. Raises `UserError` when there are none."""
    found = scaled_photos(folder)
    assert found is not None, "fixed_clip is for folders with rgb/<k>x"
    photos, factor = found
    files = [path for path in images_in(photos) if path.parent == photos]
    numbered = {path: int(path.stem) for path in files if path.stem.isascii() and path.stem.isdecimal()}
    if not numbered:
        raise clear(
            str(photos),
            expected="photos named by frame number, as 00000.png",
            got=f"{len(files)} photos, none with a number" if files else "no photos",
            do="number the frames of the clip",
        )
    last = max(max(numbered.values()), _dense_frames(folder / DENSE_FOLDER) - 1)
    focal_px = FOCAL_PX * FOCAL_FACTOR / factor
    companions = Companions(folder)
    frames: list[Frame] = []
    for path, index in sorted(numbered.items(), key=lambda item: item[1]):
        width, height = size_if_readable(path) or (0, 0)
        frames.append(
            Frame(
                path.relative_to(folder).as_posix(),
                path,
                np.eye(4),
                pinhole(focal_px, focal_px, width / 2, height / 2),
                time=index / max(last, 1),
                split=Split.TRAIN,
                depth=companions.depth_of(path),
                flows=companions.flows_of(path, list(numbered)),
            )
        )
    dropped = tuple(Dropped(path.name, "its name is no frame number") for path in files if path not in numbered)
    return FixedClip(tuple(frames), dropped, last, factor)


def _dense_frames(folder: Path) -> int:
    """How many frames the denser set has, directly in the folder or at a size below it; 0 without one."""
    files = images_in(folder) if folder.is_dir() else []
    levels = {path.parent for path in files}
    return max((sum(path.parent == level for path in files) for level in levels), default=0)
