"""The layout of Nerfies and HyperNeRF (Park et al. 2021), which the iPhone captures of DyCheck (Gao et al. 2022) share:
`dataset.json`, `metadata.json`, `scene.json`, `camera/<id>.json`, photos in `rgb/<k>x/`, measured depth in
`depth/<k>x/`.

A camera file has the rotation `orientation` world-to-camera (x right, y down, z forward), the centre `position`,
intrinsics for photos at full size with pixel centres at +0.5, and a lens of radial k1, k2, k3 and tangential p1, p2.
`scene.json` takes capture points p to the scene's world: (p - center) · scale.

Readers made for dynamic Gaussians (MoDGS and its ancestors) put the principal point in the middle of the photo, use one
focal length for both axes and forget the lens; here all of it is kept. A frame's time is its `time_id` (older captures:
`warp_id`; iPhone captures, marked by `emf.json`: `appearance_id`) over the largest one. Where no `val_ids` are listed,
every fourth frame from the first trains and every fourth from the third tests, as published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from rilievo.data.depth_file import find_depth
from rilievo.data.frame import Frame, Listing, Split
from rilievo.data.image_files import find_image
from rilievo.data.json_file import number, read_object
from rilievo.data.scaled_photos import scaled_photos
from rilievo.data.scene import Dropped, MaskMeaning, PointCloud
from rilievo.errors import UserError, clear

TIME_KEYS = ("time_id", "warp_id", "appearance_id")
IPHONE_TIME_KEYS = ("appearance_id", "warp_id", "time_id")
SPLIT_STEP = 4
"""Frames from one training view to the next where the capture lists no test views."""


def is_hypernerf(folder: Path) -> bool:
    return (folder / "dataset.json").is_file() and (folder / "camera").is_dir()


def list_hypernerf(folder: Path) -> Listing:
    """Training views, then test views. Raises `UserError` when ids, the scene's frame or the photos' folder are
    missing."""
    photos = scaled_photos(folder)
    if photos is None:
        raise clear(f"{folder}/rgb", expected="photos in rgb/1x, rgb/2x, …", got="none", do="copy the capture again")
    is_iphone = (folder / "emf.json").is_file()
    world = _WorldFrame.read(folder / "scene.json")
    times = _times(folder / "metadata.json", IPHONE_TIME_KEYS if is_iphone else TIME_KEYS)
    train, test, notes = _split(folder / "dataset.json")
    frames: list[Frame] = []
    dropped: list[Dropped] = []
    for split, ids in ((Split.TRAIN, train), (Split.TEST, test)):
        for name in ids:
            image = find_image(photos[0], name)
            if image is None:
                dropped.append(Dropped(name, f"its photo in rgb/{photos[1]}x is missing"))
            elif name not in times:
                dropped.append(Dropped(name, "metadata.json has no time of it"))
            else:
                judged = _frame(folder, name, image, world, times[name], split)
                (frames if isinstance(judged, Frame) else dropped).append(judged)  # type: ignore[arg-type]  # by its kind
    kind = "an iPhone capture (DyCheck)" if is_iphone else "a HyperNeRF capture"
    return Listing(
        f"{kind}, photos of rgb/{photos[1]}x",
        tuple(frames),
        mask_meaning=MaskMeaning.IGNORE,  # alpha is 0 where a warped photo has no pixel
        points=_points(folder / "points.npy", world),
        capture_from_world=world.capture_from_world,
        dropped=tuple(dropped),
        notes=notes,
    )


@dataclass(frozen=True)
class _WorldFrame:
    """world = (capture - center) · scale."""

    center: Float64[np.ndarray, "3"]
    scale: float

    @staticmethod
    def read(path: Path) -> _WorldFrame:
        content = read_object(path)
        center, scale = _numbers(content.get("center"), (3,)), number(content, "scale", path)
        if not np.isfinite(center).all() or not math.isfinite(scale) or scale <= 0:
            raise clear(
                str(path),
                expected='a "center" of three numbers and a "scale" above 0',
                got=f"{content.get('center')!r} and {scale}",
                do="export the capture again",
            )
        return _WorldFrame(center, scale)

    def __call__(self, points: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
        return (points - self.center) * self.scale

    @property
    def capture_from_world(self) -> Float64[np.ndarray, "4 4"]:
        matrix = np.diag([1 / self.scale, 1 / self.scale, 1 / self.scale, 1.0])
        matrix[:3, 3] = self.center
        return matrix


def _frame(folder: Path, name: str, image: Path, world: _WorldFrame, time: float, split: Split) -> Frame | Dropped:
    try:
        camera = read_object(folder / "camera" / f"{name}.json")
    except UserError as error:  # one bad camera among good ones
        return Dropped(name, f"its camera cannot be read ({error})")
    size = _numbers(camera.get("image_size"), (2,))
    if not (np.isfinite(size).all() and (size >= 1).all()):
        return Dropped(name, "its camera has no image_size of two numbers")
    focal, skew, aspect = (
        float(_numbers(camera.get(key, default), ()))
        for key, default in (("focal_length", None), ("skew", 0.0), ("pixel_aspect_ratio", 1.0))
    )
    cx, cy = _numbers(camera.get("principal_point"), (2,)).tolist()
    pose = np.eye(4)
    pose[:3, :3] = _numbers(camera.get("orientation"), (3, 3)).T
    pose[:3, 3] = world(_numbers(camera.get("position"), (3,)))
    tangential = camera.get("tangential_distortion", camera.get("tangential", [0.0, 0.0]))
    distortion = np.zeros(8)
    distortion[:3] = _numbers(camera.get("radial_distortion", [0.0, 0.0, 0.0]), (3,))
    distortion[6:] = _numbers(tangential, (2,))
    return Frame(
        image.relative_to(folder).as_posix(),
        image,
        pose,
        np.array([[focal, skew, cx], [0.0, focal * aspect, cy], [0.0, 0.0, 1.0]]),
        (round(size[0]), round(size[1])),
        distortion,
        time=time,
        split=split,
        depth=find_depth(folder / "depth" / image.parent.name, name),
    )


def _split(path: Path) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Ids that train, ids that test, and what the user should know of the choice."""
    content = read_object(path)
    train, test = _ids(content, "train_ids", path), _ids(content, "val_ids", path)
    if test:
        held_out = set(test)
        train = [name for name in train if name not in held_out]
    if test and train:
        return train, test, ()
    everything = test or _ids(content, "ids", path) or train
    if not everything:
        raise clear(str(path), expected='"train_ids" or "ids"', got="no ids", do="export the capture again")
    note = f"{path.name} has no split: every fourth frame trains, every fourth from the third on tests"
    return everything[::SPLIT_STEP], everything[SPLIT_STEP // 2 :: SPLIT_STEP], (note,)


def _ids(content: dict[str, Any], key: str, path: Path) -> list[str]:
    """The list under `key`, each id once; empty when there is none."""
    ids = content.get(key, [])
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise clear(f'{path}: "{key}"', expected="a list of names", got=repr(ids)[:40], do="export the capture again")
    return list(dict.fromkeys(ids))


def _times(path: Path, keys: Sequence[str]) -> dict[str, float]:
    """Time in [0, 1] by id, from the first of `keys` that the file knows; ids without a usable one are left out."""
    metadata = {name: entry for name, entry in read_object(path).items() if isinstance(entry, dict)}
    key = next((key for key in keys if any(key in entry for entry in metadata.values())), None)
    if key is None:
        raise clear(str(path), expected=f"one of {', '.join(keys)}", got="none", do="export the capture again")
    stamps = {name: float(_numbers(entry.get(key), ())) for name, entry in metadata.items()}
    stamps = {name: stamp for name, stamp in stamps.items() if math.isfinite(stamp) and stamp >= 0}
    last = max(stamps.values(), default=0.0) or 1.0
    return {name: stamp / last for name, stamp in stamps.items()}


def _points(path: Path, world: _WorldFrame) -> PointCloud | None:
    if not path.is_file():
        return None
    try:
        xyz = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise clear(
            str(path), expected="an array of points", got=str(error), do="copy it again or delete it"
        ) from error
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise clear(str(path), expected="points [n, 3]", got=f"an array {xyz.shape}", do="copy it again or delete it")
    return PointCloud(world(xyz[np.isfinite(xyz).all(1)]))


def _numbers(value: object, shape: tuple[int, ...]) -> np.ndarray:
    """`value` as float64 of `shape`; all NaN when it is anything else, so that the frame is dropped, not the run."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.full(shape, np.nan)
    return array if array.shape == shape else np.full(shape, np.nan)
