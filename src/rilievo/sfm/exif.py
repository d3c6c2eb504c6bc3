"""What a camera wrote beside its pixels: focal length and who it is.

Tags are EXIF 2.3's. A focal length in pixels comes from the 35 mm equivalent, which CIPA DCG-001 defines by the
diagonal (43.27 mm on film), or from the focal length in millimetres and the density of pixels on the sensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

FILM_DIAGONAL_MM = math.hypot(36, 24)
MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
"""Per FocalPlaneResolutionUnit."""
MAKE, MODEL, EXIF_BLOCK = 0x010F, 0x0110, 0x8769
FOCAL_LENGTH, FOCAL_35MM, PIXEL_WIDTH = 0x920A, 0xA405, 0xA002
PLANE_X_RESOLUTION, PLANE_UNIT = 0xA20E, 0xA210


@dataclass(frozen=True)
class CameraTag:
    """The camera that took a photo, as far as the file tells: "" where it does not."""

    identity: str = ""
    """Make, model and focal setting: photos that agree in it and in size were taken through one lens."""
    focal_px: float | None = None
    """In pixels of the stored picture."""


def read_camera_tag(path: Path) -> CameraTag:
    """Read EXIF; a file without any, or with a broken block, tells nothing."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            outer = image.getexif()
            inner = dict(outer.get_ifd(EXIF_BLOCK))
            maker = f"{outer.get(MAKE, '')} {outer.get(MODEL, '')}".strip()
    except (OSError, SyntaxError, ValueError):
        return CameraTag()
    millimetres = _number(inner.get(FOCAL_LENGTH))
    identity = f"{maker} {millimetres:g} mm" if millimetres else maker
    return CameraTag(identity, _focal_px(inner, millimetres, width, height))


def _focal_px(inner: dict[int, Any], millimetres: float, width: int, height: int) -> float | None:
    if equivalent := _number(inner.get(FOCAL_35MM)):
        return equivalent * math.hypot(width, height) / FILM_DIAGONAL_MM
    density, unit = _number(inner.get(PLANE_X_RESOLUTION)), MILLIMETRES.get(int(_number(inner.get(PLANE_UNIT)) or 2))
    written_width = _number(inner.get(PIXEL_WIDTH))
    if millimetres and density and unit and written_width:
        sensor_mm = written_width / density * unit
        if sensor_mm > 1:  # some writers store nonsense
            return millimetres / sensor_mm * max(width, height)
    return None


def _number(value: Any) -> float:
    """0 for what is missing or no finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if math.isfinite(number) else 0.0
