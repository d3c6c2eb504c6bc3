"""Intrinsics and poses that the user has already."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float64

from rilievo.data.intrinsics import read_intrinsics
from rilievo.data.json_file import frames_of, read_object
from rilievo.data.load import load_scene
from rilievo.errors import UserError, clear
from rilievo.sfm.lens import Belief, known
from rilievo.sfm.photos import PhotoSet

FORM = "FX,FY,CX,CY[,K1,K2,P1,P2] in pixels, or a JSON file with K (or fl_x, fl_y, cx, cy)"


def known_lens(text: str, found: PhotoSet) -> Belief:
    """The lens that `text` or the file it names describes, for photos of one size.

    Raises `UserError` for anything else, or where its principal point is outside the photos.
    """
    sizes = {photo.size_px for photo in found.photos}
    if len(sizes) > 1:
        raise clear("--intrinsics", expected="photos of one size", got=f"{len(sizes)} sizes", do="align them apart")
    (width, height), path = next(iter(sizes)), Path(text)
    if path.suffix.lower() == ".json":
        K, distortion = _from_file(path, (width, height))
    else:
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError as error:
            raise clear("--intrinsics", expected=FORM, got=repr(text), do="write plain numbers") from error
        if not 4 <= len(numbers) <= 8 or not np.isfinite(numbers).all():
            raise clear("--intrinsics", expected=FORM, got=f"{len(numbers)} numbers", do="write four to eight")
        fx, fy, cx, cy, k1, k2, p1, p2 = numbers + [0.0] * (8 - len(numbers))
        K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        distortion = np.array([k1, k2, 0.0, 0.0, 0.0, 0.0, p1, p2])
    if distortion[2:6].any():
        raise UserError("--intrinsics: expected distortion k1, k2, p1, p2 alone, got k3 or more; undistort the photos")
    if not (K[0, 0] > 0 and K[1, 1] > 0 and 0 < K[0, 2] < width and 0 < K[1, 2] < height):
        raise clear(
            "--intrinsics",
            expected=f"focal lengths above 0 and a principal point inside the photos of {width}x{height} pixels",
            got=f"fx {K[0, 0]:g}, fy {K[1, 1]:g}, centre ({K[0, 2]:g}, {K[1, 2]:g})",
            do="give the intrinsics of this size of photo",
        )
    return known(K, distortion)


def known_poses(path: Path, found: PhotoSet) -> dict[str, Float64[np.ndarray, "4 4"]]:
    """cam_from_world by photo name from a scene or `cameras.json`, matched by file stem.

    Raises `UserError` when a photo has no pose there.
    """
    scene = load_scene(path, holdout=0)
    cam_from_world = scene.cameras.cam_from_world.numpy()
    by_stem = {PurePosixPath(name).stem: pose for name, pose in zip(scene.names, cam_from_world)}
    missing = [photo.name for photo in found.photos if PurePosixPath(photo.name).stem not in by_stem]
    if missing:
        raise clear(
            f"--poses {path}",
            expected="a pose for every photo",
            got=f"none for {missing[0]}" + (f" and {len(missing) - 1} others" if missing[1:] else ""),
            do="leave those photos out, or align without --poses",
        )
    return {photo.name: by_stem[PurePosixPath(photo.name).stem] for photo in found.photos}


def _from_file(path: Path, size_px: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    content = read_object(path)
    first = frames_of(content, path)[0] if content.get("frames") else {}
    entry = {**content, **first}
    if "K" in entry:
        K = np.array(entry["K"], dtype=np.float64)
        if K.shape != (3, 3):
            raise clear(f"{path}: K", expected="a 3x3 matrix", got=f"shape {K.shape}", do="write three rows of three")
        return K, np.array(entry.get("distortion", np.zeros(8)), dtype=np.float64)
    lens = read_intrinsics(content, first, path, size_px)
    if lens.fisheye:
        raise UserError(f"{path}: expected a pinhole lens with distortion, got a fisheye; undistort the photos first")
    return lens.K, lens.distortion
