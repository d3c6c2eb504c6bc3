"""COLMAP's folder: a sparse model (`sparse/0`, `sparse/` or the root; binary or text) beside `images/`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rilievo.data.frame import Frame, Listing
from rilievo.data.scene import Dropped, PointCloud
from rilievo.errors import clear
from rilievo.io.colmap_binary import read_binary
from rilievo.io.colmap_lens import lens_of
from rilievo.io.colmap_text import read_text

MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", ".")
PHOTO_FOLDERS = ("images", "image", "rgb", ".")


def is_colmap(folder: Path) -> bool:
    return _model_folder(folder) is not None


def list_colmap(folder: Path) -> Listing:
    """Images sorted by name; those whose file is missing, or whose camera is, are dropped and told."""
    found = _model_folder(folder)
    assert found is not None, "list_colmap is for folders that is_colmap accepts"
    where, binary = found
    model = read_binary(where) if binary else read_text(where)
    if not model.images:
        raise clear(str(where), expected="registered images", got="none", do="run the reconstruction again")
    frames: list[Frame] = []
    dropped: list[Dropped] = []
    for image in sorted(model.images, key=lambda image: image.name):
        path = next((p for name in PHOTO_FOLDERS if (p := folder / name / image.name).is_file()), None)
        camera = model.cameras.get(image.camera_id)
        if path is None:
            dropped.append(Dropped(image.name, "its file is missing"))
        elif camera is None:
            dropped.append(Dropped(image.name, f"the model has no camera {image.camera_id}"))
        else:
            lens = lens_of(camera.model, camera.parameters)
            frames.append(
                Frame(
                    path.relative_to(folder).as_posix(),
                    path,
                    _inverse(image.cam_from_world),
                    lens.K,
                    (camera.width, camera.height),
                    lens.distortion,
                    lens.fisheye,
                )
            )
    kind = "binary" if binary else "text"
    return Listing(
        f"COLMAP {kind} model in {where.relative_to(folder).as_posix()}",
        tuple(frames),
        points=PointCloud(model.points, model.colors) if len(model.points) else None,
        dropped=tuple(dropped),
    )


def _model_folder(folder: Path) -> tuple[Path, bool] | None:
    """Where the model is, and whether it is binary."""
    for name in MODEL_FOLDERS:
        for suffix, binary in ((".bin", True), (".txt", False)):
            if all((folder / name / f"{part}{suffix}").is_file() for part in ("cameras", "images")):
                return folder / name, binary
    return None


def _inverse(cam_from_world: np.ndarray) -> np.ndarray:
    """The rigid inverse."""
    pose = np.eye(4)
    pose[:3, :3] = cam_from_world[:3, :3].T
    pose[:3, 3] = -cam_from_world[:3, :3].T @ cam_from_world[:3, 3]
    return pose
