"""The one door: a folder of posed photos in, a `Scene` out. The layout is told by what the folder holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from rilievo.data.assemble import Opening, assemble
from rilievo.data.blender import is_blender, list_blender
from rilievo.data.cameras_json import is_cameras_json, list_cameras_json
from rilievo.data.colmap import is_colmap, list_colmap
from rilievo.data.dtu import is_dtu, list_dtu
from rilievo.data.frame import Listing
from rilievo.data.hypernerf import is_hypernerf, list_hypernerf
from rilievo.data.image_files import images_in
from rilievo.data.llff import is_llff, list_llff
from rilievo.data.modgs_selfmade import is_modgs_selfmade, list_modgs_selfmade
from rilievo.data.nero_real import is_nero_real, list_nero_real
from rilievo.data.nero_synthetic import is_nero_synthetic, list_nero_synthetic
from rilievo.data.nvidia_dynamic import is_nvidia_dynamic, list_nvidia_dynamic
from rilievo.data.scene import MaskMeaning, Scene
from rilievo.data.transforms import is_transforms, list_transforms
from rilievo.errors import clear

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})

_LAYOUTS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Listing]], ...] = (
    (is_blender, list_blender),
    (is_transforms, list_transforms),
    (is_cameras_json, list_cameras_json),
    (is_hypernerf, list_hypernerf),
    (is_nvidia_dynamic, list_nvidia_dynamic),  # has sparse/ for its test cameras
    (is_modgs_selfmade, list_modgs_selfmade),
    (is_dtu, list_dtu),
    (is_nero_synthetic, list_nero_synthetic),
    (is_nero_real, list_nero_real),
    (is_colmap, list_colmap),
    (is_llff, list_llff),  # often beside a COLMAP model, which has the lens too
)


def load_scene(
    path: str | Path,
    *,
    downscale: float | int = 1,
    max_side: int | None = None,
    mask_meaning: MaskMeaning | None = None,
    holdout: int | None = None,
    region: Sequence[float | int] | None = None,
    verify: bool = True,
) -> Scene:
    """Open a capture: Blender, nerfstudio or instant-ngp, COLMAP, LLFF, DTU/NeuS/IDR/BlendedMVS, HyperNeRF or iPhone,
    a clip as MoDGS prepares it, or `cameras.json`.

    Photos shrink by `downscale`, and further until neither side exceeds `max_side`; cameras follow. `mask_meaning` says
    what masks mean where the layout leaves it open, or overrides it. Every `holdout`-th view by name (None: 8th, 0:
    none) is a test view where the layout has no split of its own. `region` is (x, y, z, radius) in the capture's frame,
    found automatically otherwise. `verify` decodes every photo once, so that a broken one is dropped now and not in the
    middle of a run.

    Raises `UserError` for anything that is not a usable capture.
    """
    folder = Path(path)
    if folder.is_file() and folder.suffix == ".json":
        folder = folder.parent
    if not math.isfinite(downscale) or downscale <= 0:
        raise clear("downscale", expected="a number above 0", got=str(downscale), do="2 halves both sides")
    if max_side is not None and max_side < 1:
        raise clear("max_side", expected="at least 1 pixel", got=str(max_side), do="give the longest side in pixels")
    if holdout is not None and (holdout < 0 or holdout == 1):
        raise clear("holdout", expected="0 (none) or at least 2", got=str(holdout), do="8 keeps every eighth view")
    ball = None if region is None else tuple(float(value) for value in region)
    if ball is not None and (len(ball) != 4 or not all(map(math.isfinite, ball)) or ball[3] <= 0):
        raise clear("region", expected="x, y, z and a radius above 0", got=str(ball), do="give four finite numbers")
    opening = Opening(float(downscale), max_side, mask_meaning, holdout, ball, verify)
    return assemble(folder, _listing(folder), opening)


def _listing(folder: Path) -> Listing:
    if not folder.exists():
        raise clear(str(folder), expected="the folder of a capture", got="nothing there", do="check the path")
    if not folder.is_dir():
        kind = "a video" if folder.suffix.lower() in VIDEO_SUFFIXES else "a file"
        raise clear(str(folder), expected="the folder of a capture", got=kind, do=_POSES)
    for fits, read in _LAYOUTS:
        if fits(folder):
            return read(folder)
    photos = images_in(folder)
    if photos:
        raise clear(
            str(folder),
            expected="camera poses beside the photos (transforms.json, sparse/, cameras.json or cameras_sphere.npz)",
            got=f"{len(photos)} photos without poses",
            do=_POSES,
        )
    raise clear(
        str(folder),
        expected="a capture: photos and their poses",
        got="an empty folder" if not any(folder.iterdir()) else "neither photos nor poses",
        do="check the path",
    )


_POSES = "find them first: rilievo align PHOTOS -o SCENE"
