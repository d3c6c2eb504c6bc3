"""A clip: the training frames of a scene in order of time, with the monocular depth that lies beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.data.companions import ESTIMATED, MEASURED
from rilievo.data.depth_file import SUFFIXES, DepthFile, find_depth
from rilievo.data.scene import MaskMeaning, Scene
from rilievo.errors import clear


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
    stems = tuple(Path(scene.names[view]).stem for view in views)
    return Clip(
        views=views,
        stems=stems,
        cameras=cameras,
        times=times,
        photos=photos,
        estimates=torch.stack(_estimates(scene, views, depth)),
        shown=torch.stack([_shown(scene, view) for view in views]),
        moving=None if scene.moving is None else torch.stack([torch.tensor(scene.moving[v]) > 0 for v in views]),
    )


def training_order(scene: Scene) -> tuple[int, ...]:
    """The training views of a scene that has times, from the first to the last."""
    assert scene.times is not None, "a clip has times"
    times = scene.times.tolist()
    return tuple(sorted(scene.train_views, key=lambda view: times[view]))


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


def _estimates(scene: Scene, views: Sequence[int], folder: str | None) -> list[Float[Tensor, "h w"]]:
    """Depth of each view at the size of its photo, 0 where unknown; from `folder` of the capture if one is named."""
    files = _depth_files(scene, views, folder)
    if not any(files):
        names = (ESTIMATED, MEASURED) if folder is None else (folder,)
        raise clear(
            scene.name,
            expected="monocular depth of its frames in " + " or ".join(f"{name}/" for name in names),
            got="no such files",
            do=f"estimate depth with any network and save {ESTIMATED}/NAME.npz for each frame NAME",
        )
    estimates = []
    for view, file in zip(views, files, strict=True):
        if file is None:
            stem = Path(scene.names[view]).stem
            raise clear(
                f"depth of frame {stem}",
                expected=f"{folder or ESTIMATED}/{stem} with the suffix " + ", ".join(SUFFIXES),
                got="no such file",
                do="estimate it, or leave the frame out of the capture",
            )
        width, height = scene.cameras.sizes_px[view].tolist()
        estimates.append(torch.from_numpy(file.read((width, height))))
    return estimates


def _depth_files(scene: Scene, views: Sequence[int], folder: str | None) -> list[DepthFile | None]:
    if folder is not None:
        return [find_depth((scene.folder or Path()) / folder, scene.names[view]) for view in views]
    return [None if scene.depth_files is None else scene.depth_files[view] for view in views]


def _shown(scene: Scene, view: int) -> Bool[Tensor, "h w"]:
    """Pixels inside the masks of cut-out objects, and not to be ignored."""
    if scene.coverage is None:
        width, height = scene.cameras.sizes_px[view].tolist()
        return torch.ones(height, width, dtype=torch.bool)
    inside = torch.tensor(scene.coverage[view])
    return inside == 255 if scene.mask_meaning is MaskMeaning.OBJECT else inside >= 128
