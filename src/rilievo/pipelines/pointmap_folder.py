"""Aligned pictures as rilievo's scene folder, for photos in their own resolution.

`transforms.json`, `images/` (the photos' own bytes), `masks/`, `points.ply` and `depth/`. A depth map is a NumPy array,
float32, along camera z, 0 where nothing is known; it covers the whole photo at the scale that the network saw, so that
resampling it to the photo's size puts it in place. Everything is written beside its place and moved in,
`transforms.json` last, so that a folder which has one is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from rilievo.data.assemble import Opening, assemble
from rilievo.data.frame import Frame, Listing
from rilievo.data.scene import MaskMeaning, PointCloud
from rilievo.data.write_nerfstudio import write_nerfstudio
from rilievo.io.atomic import unwritable, write_text
from rilievo.pipelines.network_photos import NetworkPhoto
from rilievo.pipelines.pointmap_views import PointmapViews

MOST_POINTS = 1_000_000
"""More are thinned evenly: enough to see a scene and to start from, small enough to open."""


def write_scene(
    photos: Sequence[NetworkPhoto],
    views: PointmapViews,
    meaning: MaskMeaning | None,
    K: Float64[np.ndarray, "3 3"] | None,
    out: Path,
    beside: Path,
) -> int:
    """Fill `beside` and move its content into `out`; returns the number of points.

    `K`, in px of the photos, is the intrinsics of all of them where these were known. Raises `UserError` when the
    place cannot be written, or a camera looks past its photo.
    """
    frames = tuple(_frame(photo, views, v, K) for v, photo in enumerate(photos))
    cloud = point_cloud(photos, views)
    scene = assemble(
        out, Listing("aligned photos", frames, mask_meaning=meaning, points=cloud), Opening(holdout=0, verify=False)
    )
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        # Written as masks that mean "ignore", which nerfstudio's layout keeps as files; what they mean is said after.
        as_files = None if scene.coverage is None else MaskMeaning.IGNORE
        write_nerfstudio(replace(scene, mask_meaning=as_files), beside)
        path = beside / "transforms.json"
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for v, frame in enumerate(content["frames"]):
            frame["depth_file_path"] = _write_depth(beside, frame["file_path"], photos[v], views, v)
        if meaning is not None:
            content = {"mask_meaning": meaning.value, **content}
        write_text(path, json.dumps(content, indent=1) + "\n")
        move_in(beside, out)
    except OSError as error:
        raise unwritable(out, error) from error
    return 0 if cloud is None else len(cloud.xyz)


def move_in(beside: Path, out: Path) -> None:
    """Move what `beside` holds into `out`, `transforms.json` last."""
    for item in sorted(beside.iterdir(), key=lambda p: p.name == "transforms.json"):
        target = out / item.name
        if target.is_dir():
            shutil.rmtree(target)
        item.replace(target)


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


def _write_depth(folder: Path, image: str, photo: NetworkPhoto, views: PointmapViews, v: int) -> str:
    name = PurePosixPath("depth") / PurePosixPath(image).with_suffix(".npy").name
    (folder / "depth").mkdir(exist_ok=True)
    np.save(folder / name, whole_depth(photo, views, v))
    return str(name)


def _frame(photo: NetworkPhoto, views: PointmapViews, v: int, K: Float64[np.ndarray, "3 3"] | None) -> Frame:
    own = photo.photo
    return Frame(
        own.name,
        own.path,
        views.world_from_cam[v].cpu().numpy(),
        (photo.prepared.photo_from_input @ views.K[v].cpu()).numpy() if K is None else K,
        own.size_px,
        mask=own.mask if own.mask != own.path else None,
        time=own.time,
    )
