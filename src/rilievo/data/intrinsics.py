"""Intrinsics as instant-ngp and nerfstudio write them, beside the frames or in each of them.

Keys: `w h fl_x fl_y cx cy`, or the full horizontal angle of view `camera_angle_x` (radians), k1 … k6, p1, p2, and
`camera_model`. The centre of pixel (column, row) is at +0.5 there too, so nothing shifts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from rilievo.data.frame import pinhole
from rilievo.data.json_file import number
from rilievo.errors import clear

PINHOLE_MODELS = frozenset(
    {"OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "PERSPECTIVE"}
)
DISTORTION_KEYS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
INTRINSIC_KEYS = (
    "w",
    "h",
    "fl_x",
    "fl_y",
    "cx",
    "cy",
    "camera_angle_x",
    "camera_angle_y",
    "camera_model",
    "is_fisheye",
)


@dataclass(frozen=True)
class Intrinsics:
    """K in pixels, the image size it is for, and the lens."""

    K: Float64[np.ndarray, "3 3"]
    size_px: tuple[int, int]
    distortion: Float64[np.ndarray, "8"]
    fisheye: bool


def read_intrinsics(
    shared: Mapping[str, Any], frame: Mapping[str, Any], path: Path, image_size_px: tuple[int, int] | None
) -> Intrinsics:
    """Intrinsics of one frame: its own keys win over those it shares with all frames.

    `image_size_px` fills in a missing `w`, `h`. Raises `UserError` when no focal length can be had, or for a lens model
    that is neither OpenCV's nor OpenCV's fisheye.
    """
    keys = (*INTRINSIC_KEYS, *DISTORTION_KEYS)
    given = {key: source[key] for source in (shared, frame) for key in keys if source.get(key) is not None}
    if "w" in given and "h" in given:
        width, height = number(given, "w", path), number(given, "h", path)
    elif image_size_px is not None:
        width, height = float(image_size_px[0]), float(image_size_px[1])
    else:
        width, height = 2 * number(given, "cx", path), 2 * number(given, "cy", path)
    fx, fy = _focal(given, width, height, path)
    cx = number(given, "cx", path) if "cx" in given else width / 2
    cy = number(given, "cy", path) if "cy" in given else height / 2
    model = str(given.get("camera_model", "OPENCV")).upper()
    fisheye = model == "OPENCV_FISHEYE" or given.get("is_fisheye") is True
    if not fisheye and model not in PINHOLE_MODELS:
        raise clear(
            f"{path}: camera_model",
            expected="OPENCV, PINHOLE or OPENCV_FISHEYE",
            got=model,
            do="undistort the photos first, to PINHOLE",
        )
    distortion = np.array([number(given, key, path) if key in given else 0.0 for key in DISTORTION_KEYS])
    if fisheye:
        distortion[4:] = 0.0
    return Intrinsics(pinhole(fx, fy, cx, cy), (round(width), round(height)), distortion, fisheye)


def _focal(given: Mapping[str, Any], width: float, height: float, path: Path) -> tuple[float, float]:
    """Focal lengths in pixels; a missing one equals the other (square pixels)."""
    given = dict(given)
    fx = fy = None
    if "fl_x" in given:
        fx = number(given, "fl_x", path)
    elif "camera_angle_x" in given:
        fx = width / 2 / math.tan(number(given, "camera_angle_x", path) / 2)
    if "fl_y" in given:
        fy = number(given, "fl_y", path)
    elif "camera_angle_y" in given and "fl_x" not in given:
        fy = height / 2 / math.tan(number(given, "camera_angle_y", path) / 2)
    fx, fy = (fx if fx is not None else fy), (fy if fy is not None else fx)
    if fx is None or fy is None:
        raise clear(
            str(path), expected='"fl_x" or "camera_angle_x"', got="neither", do="add the focal length in pixels as fl_x"
        )
    return fx, fy
