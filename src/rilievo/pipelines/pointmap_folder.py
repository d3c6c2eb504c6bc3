"""Pictures aligned through pointmaps as rilievo's scene folder, for photos in their own resolution.

Beside what every aligned scene has (`sfm.scene_folder`) there is `depth/`. A depth map is a NumPy array, float32, along
camera z, 0 where nothing is known; it covers the whole photo at the scale that the network saw, so that resampling it
to the photo's size puts it in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from rilievo.data.frame import Frame, Listing
from rilievo.data.scene import MaskMeaning, PointCloud
from rilievo.errors import clear
from rilievo.pipelines.network_photos import NetworkPhoto
from rilievo.pipelines.pointmap_exports import Exports, write_exports
from rilievo.pipelines.pointmap_views import PointmapViews
from rilievo.sfm.photos import Photo
from rilievo.sfm.scene_folder import LAYOUT, frame_of, write_folder

MOST_POINTS = 1_000_000
"""More are thinned evenly: enough to see a scene and to start from, small enough to open."""


def write_scene(
    photos: Sequence[NetworkPhoto],
    views: PointmapViews,
    meaning: MaskMeaning | None,
    K: Float64[np.ndarray, "3 3"] | None,
    out: Path,
    beside: Path,
    exports: Exports,
) -> tuple[int, list[str]]:
    """Fill `beside` and move its content into `out`; returns the number of points, and what there is to say.

    `K`, in px of the photos, is the intrinsics of all of them where these were known. Raises `UserError` when the
    place cannot be written, or a camera looks past its photo.
    """
    frames = tuple(_frame(photo, views, v, K) for v, photo in enumerate(photos))
    cloud = point_cloud(photos, views)
    notes: list[str] = []

    def complete(folder: Path, content: dict[str, Any]) -> None:
        for v, frame in enumerate(content["frames"]):
            frame["depth_file_path"] = _write_depth(folder, frame["file_path"], photos[v], views, v)
        if cloud is None:
            notes.append(f"no point is surer than {views.least_confidence:g}: the scene has cameras, but no points.ply")
        else:
            notes.extend(write_exports(folder, photos, views, meaning, exports))

    write_folder(Listing(LAYOUT, frames, mask_meaning=meaning, points=cloud), out, beside, complete)
    return 0 if cloud is None else len(cloud.xyz), notes


def point_cloud(photos: Sequence[NetworkPhoto], views: PointmapViews) -> PointCloud | None:
    """The points worth showing, in the colours of the pictures; None where there are none."""
    keep = [sure(views, v) & X.isfinite().all(-1) for v, X in enumerate(views.points)]
    total = sum(int(mask.sum()) for mask in keep)
    if total == 0:
        return None
    xyz = np.concatenate([X[mask].cpu().double().numpy() for X, mask in zip(views.points, keep)])
    rgb = np.concatenate([photo.prepared.pixels[mask.cpu().numpy()] for photo, mask in zip(photos, keep)])
    every = ceil(total / MOST_POINTS)
    return PointCloud(xyz[::every], rgb[::every])


def sure(views: PointmapViews, v: int) -> Bool[Tensor, "_h _w"]:
    """Which pixels of a view are worth showing."""
    return views.confidence[v] > views.least_confidence


def whole_depth(photo: NetworkPhoto, views: PointmapViews, v: int) -> Float32[np.ndarray, "_h _w"]:
    """Depth over the whole scaled photo, 0 outside what the network saw and where confidence is too small."""
    framing = photo.prepared.framing
    left, top, right, bottom = framing.crop_px
    whole = np.zeros(framing.scaled_px[::-1], dtype=np.float32)
    whole[top:bottom, left:right] = torch.where(sure(views, v), views.depth[v], 0).float().cpu().numpy()
    return whole


def read_depth(folder: Path, photo: Photo) -> Float32[np.ndarray, "_h _w"] | None:
    """The depth map that `write_scene` left of a photo, None where there is none.

    Raises `UserError` where it is damaged.
    """
    path = folder / "depth" / PurePosixPath(photo.name).with_suffix(".npy").name
    if not path.is_file():
        return None
    try:
        depth = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise clear(str(path), expected="a NumPy array", got="a damaged file", do="align the scene anew") from error
    if depth.ndim != 2:
        raise clear(str(path), expected="rows and columns", got=f"shape {depth.shape}", do="align the scene anew")
    return depth.astype(np.float32)


def _write_depth(folder: Path, image: str, photo: NetworkPhoto, views: PointmapViews, v: int) -> str:
    name = PurePosixPath("depth") / PurePosixPath(image).with_suffix(".npy").name
    (folder / "depth").mkdir(exist_ok=True)
    np.save(folder / name, whole_depth(photo, views, v))
    return str(name)


def _frame(photo: NetworkPhoto, views: PointmapViews, v: int, K: Float64[np.ndarray, "3 3"] | None) -> Frame:
    in_photo = (photo.prepared.photo_from_input @ views.K[v].cpu()).numpy() if K is None else K
    return frame_of(photo.photo, views.world_from_cam[v].cpu().numpy(), in_photo)
