"""A clip: the training frames of a scene in order of time, straightened, with what lies beside them.

Photos of a lens with distortion become those of a pinhole at the same place (`engine.view_sampler`), and depth and
masks with them, so that one pixel means one thing throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.undistort import undistort_image
from rilievo.data.companions import ESTIMATED, MEASURED
from rilievo.data.depth_file import SUFFIXES, DepthFile, find_depth
from rilievo.data.scene import Scene
from rilievo.depth.hub import HUB, hub_depth
from rilievo.engine.view_sampler import Picture, straightened
from rilievo.errors import clear

from .filed_flow import FiledFlow


@dataclass(frozen=True)
class Clip:
    """t frames of one size, from the first to the last."""

    views: tuple[int, ...]
    """Their indices in the scene."""
    stems: tuple[str, ...]
    cameras: Cameras
    """Pinholes."""
    times: Float[Tensor, "t"]
    photos: UInt8[Tensor, "t h w 3"]
    estimates: Float[Tensor, "t h w"]
    """Monocular depth; 0 where unknown."""
    shown: Bool[Tensor, "t h w"]
    """Pixels that the photo and its mask let count."""
    moving: Bool[Tensor, "t h w"] | None
    """What moves, where the capture says so."""
    filed_flow: FiledFlow | None = None
    """Flow that lies in files; it belongs to photos that needed no straightening."""
    straightened: bool = False

    def __len__(self) -> int:
        return len(self.views)


def read_clip(scene: Scene, depth: str | None = None) -> Clip:
    """The training frames of a scene as a clip; `depth` names the folder of depth files, or a model as hub:NAME.

    Raises `UserError` for a scene without times, with fewer than two moments, of photos of several sizes, and for depth
    that is missing, unreadable, of another shape, or nowhere finite and positive, or whose model is not to be had.
    """
    if scene.times is None:
        raise clear(
            scene.name,
            expected="a clip, whose frames have times",
            got="photos without times",
            do="give every frame a `time` in [0, 1], as rilievo align does with a video or with --clip, or fit splat",
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
    if len(scene.cameras.sizes_px[list(views)].unique(dim=0)) != 1:
        raise clear(scene.name, expected="frames of one size", got="several sizes", do="resize them to one")
    estimated = _estimator(scene, views, depth)
    frames = [straightened(scene, view) for view in views]
    return Clip(
        views=views,
        stems=tuple(Path(scene.names[view]).stem for view in views),
        cameras=Cameras.concatenate([frame.camera for frame in frames]),
        times=times,
        photos=torch.stack([frame.rgb for frame in frames]),
        estimates=torch.stack([estimated(frame) for frame in frames]),
        shown=torch.stack([frame.supervised & (frame.coverage == 255) for frame in frames]),
        moving=None if scene.moving is None else torch.stack([_moving(scene, frame) for frame in frames]),
        filed_flow=FiledFlow(scene, views),
        straightened=any(not torch.equal(frame.camera.K, scene.cameras[frame.view].K) for frame in frames),
    )


def training_order(scene: Scene) -> tuple[int, ...]:
    """The training views of a scene that has times, from the first to the last."""
    assert scene.times is not None, "a clip has times"
    times = scene.times.tolist()
    return tuple(sorted(scene.train_views, key=lambda view: times[view]))


def _require_depth(scene: Scene, views: Sequence[int], folder: str | None) -> list[DepthFile]:
    """The depth file of each view, from `folder` of the capture if one is named."""
    files = _depth_files(scene, views, folder)
    if not any(files):
        names = (ESTIMATED, MEASURED) if folder is None else (folder,)
        raise clear(
            scene.name,
            expected="monocular depth of its frames in " + " or ".join(f"{name}/" for name in names),
            got="no such files",
            do=f"save {ESTIMATED}/NAME.npz for each frame NAME, or name a model: --clip.depth hub:NAME",
        )
    found = []
    for view, file in zip(views, files, strict=True):
        if file is None:
            stem = Path(scene.names[view]).stem
            raise clear(
                f"depth of frame {stem}",
                expected=f"{folder or ESTIMATED}/{stem} with the suffix " + ", ".join(SUFFIXES),
                got="no such file",
                do="estimate it, or leave the frame out of the capture",
            )
        found.append(file)
    return found


def _depth_files(scene: Scene, views: Sequence[int], folder: str | None) -> list[DepthFile | None]:
    if folder is not None:
        return [find_depth((scene.folder or Path()) / folder, scene.names[view]) for view in views]
    return [None if scene.depth_files is None else scene.depth_files[view] for view in views]


def _estimator(scene: Scene, views: Sequence[int], source: str | None) -> Callable[[Picture], Float[Tensor, "h w"]]:
    """Depth at the pixels of a straightened photo, 0 where unknown: from its file, or by a model that looks at it."""
    if source is not None and source.startswith(HUB):
        compute = hub_depth(source.removeprefix(HUB))
        return lambda frame: torch.from_numpy(compute(frame.rgb.numpy()))
    files = dict(zip(views, _require_depth(scene, views, source), strict=True))

    def read(frame: Picture) -> Float[Tensor, "h w"]:
        width, height = scene.cameras.sizes_px[frame.view].tolist()
        return _straight(scene, frame, torch.from_numpy(files[frame.view].read((width, height))))

    return read


def _moving(scene: Scene, frame: Picture) -> Bool[Tensor, "h w"]:
    assert scene.moving is not None, "asked for where the capture says what moves"
    return _straight(scene, frame, torch.tensor(scene.moving[frame.view])) > 0


def _straight(scene: Scene, frame: Picture, values: Tensor) -> Tensor:
    """What lies beside a photo, at the pixels of the straightened one: the nearest pixel's; 0 beyond the photo."""
    camera = scene.cameras[frame.view]
    if torch.equal(frame.camera.K, camera.K):
        return values
    return undistort_image(values, camera, frame.camera, mode="nearest")[0]
