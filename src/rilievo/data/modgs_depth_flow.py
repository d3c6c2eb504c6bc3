"""Depth and flow beside the frames of a clip as MoDGS (Liu et al. 2024) prepares it.

Depth is what GeoWizard estimated, `GeoWizardOut/depth_npy/<stem>.npy`, brought to one scale by two files:
`__scene.json` has a scale s and a shift t for each frame (their means stand in for what is NaN, 0.3 and 0.5 for a
missing file), `__re_scale_scene.json` a further factor f for all frames but one, which give (s d + t) f.
`GeoWizardOut/depth_valid_msk/<stem>.npy.png` is 0 where depth jumps. Flow between any two frames is in
`raft_exhaustive/<name>_<name>.npy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rilievo.data.depth_file import DepthFile
from rilievo.data.json_file import read_object

DEPTH, JUMPS, FLOW = "GeoWizardOut/depth_npy", "GeoWizardOut/depth_valid_msk", "raft_exhaustive"
SCALE_FILE, FACTOR_FILE = "__scene.json", "__re_scale_scene.json"
USUAL_SCALE, USUAL_SHIFT = 0.3, 0.5


class Companions:
    """What lies beside the frames of the clip in `folder`."""

    def __init__(self, folder: Path) -> None:
        """Raises `UserError` for a scale file that cannot be read."""
        self.folder = folder
        self.scales, self.factors = (
            read_object(folder / name) if (folder / name).is_file() else {} for name in (SCALE_FILE, FACTOR_FILE)
        )
        self.flow_files = {path.name: path for path in (folder / FLOW).glob("*.npy")}

    def depth_of(self, photo: Path) -> DepthFile | None:
        """Depth of a frame; None where there is no file."""
        file = f"{photo.stem}.npy"
        path, jumps = self.folder / DEPTH / file, self.folder / JUMPS / f"{file}.png"
        if not path.is_file():
            return None
        own = self.scales.get(file)
        own = own if isinstance(own, dict) else {}
        scale = _finite(own.get("scale"), _finite(self.scales.get("mean_s"), USUAL_SCALE))
        shift = _finite(own.get("shift"), _finite(self.scales.get("mean_t"), USUAL_SHIFT))
        factor = _finite(self.factors.get(file), 1.0)
        return DepthFile(path, scale * factor, shift * factor, jumps if jumps.is_file() else None)

    def flows_of(self, photo: Path, photos: Sequence[Path]) -> dict[str, Path]:
        """Flow from a frame to others, by their names in the capture."""
        if not self.flow_files:
            return {}
        paths = {other: self.flow_files.get(f"{photo.name}_{other.name}.npy") for other in photos}
        return {other.relative_to(self.folder).as_posix(): path for other, path in paths.items() if path is not None}


def _finite(value: object, otherwise: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else otherwise  # type: ignore[arg-type]  # a number, by the line above
