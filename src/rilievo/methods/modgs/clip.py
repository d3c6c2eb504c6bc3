"""A clip: the training frames of a scene in order of time, with the monocular depth that lies beside them.

A frame's depth file has the frame's stem, in a folder of the capture: `depth_mono/003.npz` for `images/003.png`. It is
an array of the frame's size (a downscaled scene shrinks it), larger being farther; what is not finite and positive is
unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.data.scene import MaskMeaning, Scene
from rilievo.errors import clear

DEPTH_FOLDERS = ("depth_mono", "depth")
SUFFIXES = (".npz", ".npy", ".png")
SHAPE_SLACK = 0.02
"""Largest relative difference of two aspect ratios that are the same."""


@dataclass(frozen=True)
class Clip:
    """t frames of one size, from the first to the last."""

    views: tuple[int, ...]
    """Their indices in the scene."""
    stems: tuple[str, ...]
    cameras: Cameras
    times: Float[Tensor, "t"]
    photos: UInt8[Tensor, "t h w 3"]
    estimates: Float[Tensor, "t h w"]
    """Monocular depth; 0 where unknown."""
    shown: Bool[Tensor, "t h w"]
    """Pixels that masks let count."""
    moving: Bool[Tensor, "t h w"] | None
    """What moves, where the capture says so."""

    def __len__(self) -> int:
        return len(self.views)


def read_clip(scene: Scene, depth: str | None = None) -> Clip:
    """The training frames of a scene as a clip; `depth` names the folder of depth files.

    Raises `UserError` for a scene without times, with fewer than two moments, of distorted photos or several sizes, and
    for depth that is missing, unreadable, of another shape, or nowhere finite and positive.
    """
    if scene.times is None:
        raise clear(
            scene.name,
            expected="a clip, whose frames have times",
            got="photos without times",
            do="give every frame of cameras.json its `frame` number or a `time` in [0, 1], or fit splat",
        )
    views = training_order(scene)
    times = scene.times[list(views)]
    if len(times.unique()) < 2:
        raise clear(
            scene.name,
            expected="at least two training frames at different times",
            got=f"{len(views)} frame{'s' * (len(views) != 1)} at one time",
            do="give a longer clip, or fit splat",
        )
    cameras = scene.cameras[list(views)]
    _require_plain(scene.name, cameras)
    photos = torch.stack([torch.tensor(scene.images[view]) for view in views])
    folder = _depth_folder(scene, depth)
    size = (int(photos.shape[1]), int(photos.shape[2]))
    stems = tuple(Path(scene.names[view]).stem for view in views)
    return Clip(
        views=views,
        stems=stems,
        cameras=cameras,
        times=times,
        photos=photos,
        estimates=torch.stack([_frame_depth(folder, stem, size) for stem in stems]),
        shown=torch.stack([_shown(scene, view) for view in views]),
        moving=None if scene.moving is None else torch.stack([torch.tensor(scene.moving[v]) > 0 for v in views]),
    )


def training_order(scene: Scene) -> tuple[int, ...]:
    """The training views of a scene that has times, from the first to the last."""
    assert scene.times is not None, "a clip has times"
    times = scene.times.tolist()
    return tuple(sorted(scene.train_views, key=lambda view: times[view]))


def read_depth(path: Path) -> Float[np.ndarray, "h w"]:
    """A depth file: `depth` or the only array of a .npz, a .npy, or a 16-bit .png.

    Raises `UserError` for a file that is damaged or holds no picture.
    """
    try:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                found = np.asarray(picture)
        elif path.suffix == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            with np.load(path, allow_pickle=False) as archive:
                found = archive["depth" if "depth" in archive.files else archive.files[0]]
    except (OSError, ValueError, EOFError, IndexError, BadZipFile) as error:
        raise clear(f"depth {path}", expected="a sound depth file", got=str(error), do="export it again") from error
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise clear(
            f"depth {path}",
            expected="one number per pixel",
            got=f"an array of shape {found.shape} and type {found.dtype}",
            do="export depth itself, not a picture of it",
        )
    return found.astype(np.float32)


def _require_plain(name: str, cameras: Cameras) -> None:
    """Raises `UserError` for cameras that are not pinholes of one size."""
    if bool(cameras.fisheye.any()) or bool(cameras.distortion.any()):
        raise clear(
            name,
            expected="frames without lens distortion, since their depth belongs to their pixels",
            got="distorted ones",
            do="undistort frames and depth first",
        )
    if len(cameras.sizes_px.unique(dim=0)) != 1:
        raise clear(name, expected="frames of one size", got="several sizes", do="resize them to one")


def _depth_folder(scene: Scene, asked: str | None) -> Path:
    capture = scene.folder or Path()
    names = DEPTH_FOLDERS if asked is None else (asked,)
    for name in names:
        if (capture / name).is_dir():
            return capture / name
    raise clear(
        scene.name,
        expected="monocular depth of its frames in " + " or ".join(f"{name}/" for name in names),
        got="no such folder",
        do=f"estimate depth with any network and save {DEPTH_FOLDERS[0]}/NAME.npz for each frame NAME",
    )


def _frame_depth(folder: Path, stem: str, size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """The depth of a frame at its (height, width), 0 where unknown."""
    path = next((p for p in (folder / f"{stem}{suffix}" for suffix in SUFFIXES) if p.is_file()), None)
    if path is None:
        raise clear(
            f"depth of frame {stem}",
            expected=f"{folder / stem} with the suffix " + ", ".join(SUFFIXES),
            got="no such file",
            do="estimate it, or leave the frame out of the capture",
        )
    depth = torch.from_numpy(read_depth(path))
    known = depth.isfinite() & (depth > 0)
    if not bool(known.any()):
        raise clear(
            f"depth {path}", expected="finite numbers above 0", got="none", do="estimate it again, or leave it out"
        )
    height, width = size
    shape_change = (depth.shape[1] / depth.shape[0]) / (width / height) - 1
    if abs(shape_change) > SHAPE_SLACK:
        raise clear(
            f"depth {path}",
            expected=f"the shape of its frame, {width}x{height} pixels",
            got=f"{depth.shape[1]}x{depth.shape[0]}",
            do="estimate depth of the frame itself, uncropped",
        )
    depth = torch.where(known, depth, 0)
    return depth if depth.shape == size else F.interpolate(depth[None, None], size, mode="nearest")[0, 0]


def _shown(scene: Scene, view: int) -> Bool[Tensor, "h w"]:
    """Pixels inside the masks of cut-out objects, and not to be ignored."""
    if scene.coverage is None:
        width, height = scene.cameras.sizes_px[view].tolist()
        return torch.ones(height, width, dtype=torch.bool)
    inside = torch.tensor(scene.coverage[view])
    return inside == 255 if scene.mask_meaning is MaskMeaning.OBJECT else inside >= 128
