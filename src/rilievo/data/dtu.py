"""The layout of IDR and NeuS: `cameras_sphere.npz` or `cameras.npz`, `image/`, `mask/`; DTU and BlendedMVS are shared
in it.

`world_mat_i` (4x4) projects capture points to pixels; `scale_mat_i` takes the unit sphere round the object to the
capture's frame. Their product P = K [R | t] is the camera in the sphere's frame, which becomes the scene's world: K and
R come out of an RQ decomposition (Hartley & Zisserman, section 6.2.4). Skew, which the decomposition also gives, is
dropped and told.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float64

from rilievo.cameras.projection import decompose
from rilievo.data.frame import Frame, Listing
from rilievo.data.image_files import MASK_FOLDERS, images_in
from rilievo.data.scene import Dropped, MaskMeaning, Region
from rilievo.errors import UserError, clear

CAMERA_FILES = ("cameras_sphere.npz", "cameras.npz", "cameras_large.npz", "cameras_linear_init.npz")
PHOTO_FOLDERS = ("image", "images", "rgb")
VISIBLE_SKEW_PX = 0.01


def is_dtu(folder: Path) -> bool:
    return any((folder / name).is_file() for name in CAMERA_FILES)


def list_dtu(folder: Path) -> Listing:
    """Views by number. Raises `UserError` when cameras and photos cannot be told which belongs to which."""
    path = next(folder / name for name in CAMERA_FILES if (folder / name).is_file())
    matrices = _matrices(path)
    numbers = sorted(int(key[10:]) for key in matrices if key.startswith("world_mat_") and key[10:].isdigit())
    if not numbers:
        raise clear(str(path), expected="world_mat_0, world_mat_1, …", got=", ".join(matrices), do="check the file")
    photos = _by_number(next((folder / name for name in PHOTO_FOLDERS if (folder / name).is_dir()), folder), numbers)
    masks_folder = next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)
    masks = {} if masks_folder is None else _by_number(masks_folder, numbers)
    frames: list[Frame] = []
    dropped: list[Dropped] = []
    notes: list[str] = []
    skew_px = 0.0
    capture_from_world = matrices.get(f"scale_mat_{numbers[0]}", np.eye(4))
    scale = _similarity_scale(capture_from_world, path)
    for i in numbers:
        photo = photos.get(i)
        if photo is None:
            dropped.append(Dropped(f"view {i}", "its file is missing"))
            continue
        # one world for all views, even where a file gives each its own sphere
        K, pose = _camera((matrices[f"world_mat_{i}"] @ capture_from_world)[:3])
        skew_px = float(np.fmax(skew_px, abs(K[0, 1])))
        K[0, 1] = 0.0
        frames.append(Frame(photo.relative_to(folder).as_posix(), photo, pose, K, mask=masks.get(i)))
    if skew_px > VISIBLE_SKEW_PX:
        notes.append(f"a skew of {skew_px:.2f} px in the intrinsics is dropped")
    has_sphere = f"scale_mat_{numbers[0]}" in matrices
    region = Region(np.zeros(3), 1.0, f"scale_mat of {path.name} (radius {scale:.4g} in the capture)")
    return Listing(
        path.name,
        tuple(frames),
        mask_meaning=MaskMeaning.OBJECT,
        region=region if has_sphere else None,
        capture_from_world=capture_from_world,
        dropped=tuple(dropped),
        notes=tuple(notes),
    )


def _camera(P: Float64[np.ndarray, "3 4"]) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "4 4"]]:
    """K and world_from_cam of a projection; all NaN, so that the frame is dropped, when it is not finite or
    singular."""
    try:
        if np.isfinite(P).all():
            K, pose = decompose(torch.from_numpy(P)[None])
            return K[0].numpy(), pose[0].numpy()
    except UserError:  # a singular projection: one bad camera among good ones
        pass
    return np.full((3, 3), np.nan), np.full((4, 4), np.nan)


def _matrices(path: Path) -> dict[str, Float64[np.ndarray, "4 4"]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            matrices = {key: np.asarray(archive[key], dtype=np.float64) for key in archive.files if "_mat_" in key}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise clear(str(path), expected="a NumPy .npz archive", got=str(error), do="copy the capture again") from error
    wrong = next((key for key, matrix in matrices.items() if matrix.shape != (4, 4)), None)
    if wrong is not None:
        raise clear(f"{path}: {wrong}", expected="a 4x4 matrix", got=str(matrices[wrong].shape), do="check the file")
    return matrices


def _similarity_scale(capture_from_world: Float64[np.ndarray, "4 4"], path: Path) -> float:
    """The factor of a matrix that scales alike in all directions; `UserError` for any other."""
    A = capture_from_world[:3, :3]
    scale = float(np.cbrt(np.linalg.det(A))) if np.isfinite(A).all() else 0.0
    if scale <= 0 or np.abs(A.T @ A - scale**2 * np.eye(3)).max() > 1e-4 * scale**2:
        raise clear(
            f"{path}: scale_mat",
            expected="a similarity (one scale, rotation, translation)",
            got=np.array2string(A, precision=3).replace("\n", ""),
            do="write the sphere as diag(radius, radius, radius) and its centre",
        )
    return scale


def _by_number(folder: Path, numbers: list[int]) -> dict[int, Path]:
    """Photos by view number: one for each in sorted order, or by the number in the name where some are missing."""
    files = images_in(folder)
    if len(files) == len(numbers):
        return dict(zip(numbers, files))
    named = {int(path.stem): path for path in files if path.stem.isdigit()}
    if len(named) != len(files):
        raise clear(
            str(folder),
            expected=f"{len(numbers)} pictures, or pictures named by view number",
            got=f"{len(files)}",
            do="name them 000000.png, 000001.png, … after world_mat_0, world_mat_1, …",
        )
    return named
