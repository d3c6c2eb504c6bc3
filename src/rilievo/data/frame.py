"""What a capture layout says, before any photo has been opened.

Each source file (`blender`, `transforms`, `colmap`, `dtu`, `cameras_json`) turns its layout into a `Listing` of
`Frame`s in our axes (x right, y down, z forward); `assemble` then looks at the photos, judges the frames one by one and
builds the `Scene`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from rilievo.data.depth_file import DepthFile
from rilievo.data.scene import Dropped, MaskMeaning, PointCloud, Region
from rilievo.io.image import ImageHeader

CV_FROM_GL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes: OpenGL has y up and looks along -z. Its own inverse; multiplies a pose from the right."""


class Split(Enum):
    """Who a frame is for, where the layout says."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True)
class Frame:
    """One listed photo and its camera; nothing has been checked yet."""

    name: str
    """The image's path inside the capture, with forward slashes."""
    image: Path
    world_from_cam: Float64[np.ndarray, "4 4"]
    K: Float64[np.ndarray, "3 3"]
    size_px: tuple[int, int] | None = None
    """Width and height that K is for, where the layout says."""
    distortion: Float64[np.ndarray, "8"] = field(default_factory=lambda: np.zeros(8))
    """(k1 … k6, p1, p2), as in `Cameras`."""
    fisheye: bool = False
    mask: Path | None = None
    """A mask the layout itself names."""
    time: float | None = None
    split: Split | None = None
    depth: DepthFile | None = None
    """Depth that the layout itself names."""
    flows: Mapping[str, Path] = field(default_factory=dict)
    """Optical flow to other frames, by their names."""


@dataclass(frozen=True)
class Judged:
    """A usable frame and its photo's header."""

    frame: Frame
    header: ImageHeader
    orient: bool = True
    """The camera is for the photo turned upright by EXIF."""


@dataclass(frozen=True)
class Listing:
    """All a layout says about a capture."""

    layout: str
    """In words for the user: "COLMAP model in sparse/0"."""
    frames: tuple[Frame, ...]
    mask_meaning: MaskMeaning | None = None
    """What the layout's own masks mean by that format's definition; None where it has no say."""
    points: PointCloud | None = None
    region: Region | None = None
    capture_from_world: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float64[np.ndarray, "3 3"]:
    """The matrix K, in pixels."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def pose_matrix(rows: object) -> Float64[np.ndarray, "4 4"]:
    """A 3x4 or 4x4 list of rows as a 4x4 matrix; all NaN when it is anything else, so that the frame is dropped, not
    the run."""
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        return np.full((4, 4), np.nan)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    return matrix if matrix.shape == (4, 4) else np.full((4, 4), np.nan)
