"""Aligned photos as rilievo's scene folder: `transforms.json`, `images/`, `masks/`, `points.ply`.

Masks stay files of their own, with `mask_meaning` beside them, and photos stay the bytes they were. The folder is
filled beside its place and moved in, `transforms.json` last, so that a folder which has one is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from rilievo.data.assemble import Opening, assemble
from rilievo.data.frame import Frame, Listing
from rilievo.data.scene import MaskMeaning, PointCloud
from rilievo.data.write_nerfstudio import write_nerfstudio
from rilievo.io.atomic import unwritable, write_text
from rilievo.io.image import read_color
from rilievo.sfm.bundle import Structure, Tracks
from rilievo.sfm.lens import distortion_of, matrix_of
from rilievo.sfm.photos import Photo, PhotoSet

LAYOUT = "aligned photos"
NARROWEST = np.radians(1.0)
"""Points seen under a smaller angle have no depth worth storing."""

Complete = Callable[[Path, dict[str, Any]], None]
"""(the folder being filled, the content of its transforms.json, to be changed in place)"""


def write_folder(listing: Listing, out: Path, beside: Path, complete: Complete | None = None) -> None:
    """Fill `beside` with what is listed and move its content into `out`.

    `complete` may add files and entries. Raises `UserError` when the place cannot be written.
    """
    scene = assemble(out, listing, Opening(holdout=0, verify=False))
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        # Written as masks that mean "ignore", which nerfstudio's layout keeps as files; what they mean is said after.
        as_files = None if scene.coverage is None else MaskMeaning.IGNORE
        write_nerfstudio(replace(scene, mask_meaning=as_files), beside)
        path = beside / "transforms.json"
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if complete is not None:
            complete(beside, content)
        if listing.mask_meaning is not None:
            content = {"mask_meaning": listing.mask_meaning.value, **content}
        write_text(path, json.dumps(content, indent=1) + "\n")
        for item in sorted(beside.iterdir(), key=lambda p: p.name == "transforms.json"):
            target = out / item.name
            if target.is_dir():
                shutil.rmtree(target)
            item.replace(target)
    except OSError as error:
        raise unwritable(out, error) from error


def write_scene(
    found: PhotoSet, views: Sequence[int], structure: Structure, tracks: Tracks, out: Path, beside: Path
) -> None:
    """The photos `views` with their adjusted cameras and points, as `write_folder`."""
    photos = [found.photos[i] for i in views]
    frames = tuple(_frame(photo, k, structure) for k, photo in enumerate(photos))
    points = _cloud(photos, structure, tracks)
    write_folder(Listing(LAYOUT, frames, mask_meaning=found.mask_meaning, points=points), out, beside)


def frame_of(
    photo: Photo,
    world_from_cam: Float64[np.ndarray, "4 4"],
    K: Float64[np.ndarray, "3 3"],
    distortion: Float64[np.ndarray, "8"] | None = None,
) -> Frame:
    """A photo with its camera; `distortion` is (k1 … k6, p1, p2)."""
    mask = photo.mask if photo.mask != photo.path else None
    bent = np.zeros(8) if distortion is None else distortion
    return Frame(photo.name, photo.path, world_from_cam, K, photo.size_px, bent, mask=mask, time=photo.time)


def _frame(photo: Photo, k: int, structure: Structure) -> Frame:
    R, t = structure.motion.R[k], structure.motion.t[k]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R.T, -R.T @ t
    theta = structure.lenses[structure.group[k]]
    return frame_of(photo, pose, matrix_of(theta), distortion_of(theta))


def _cloud(photos: Sequence[Photo], structure: Structure, tracks: Tracks) -> PointCloud | None:
    """Points that are seen at least twice under a fair angle, in the colour of the first photo that sees them."""
    seen = np.bincount(tracks.point, minlength=len(structure.points)) >= 2
    R, t = structure.motion.R, structure.motion.t
    centers = -np.einsum("nji,nj->ni", R, t)
    rays = centers[tracks.view] - structure.points[tracks.point]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    mean = np.zeros_like(structure.points)
    np.add.at(mean, tracks.point, rays)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    widest = np.ones(len(mean))
    np.minimum.at(widest, tracks.point, (rays * mean[tracks.point]).sum(axis=1))
    keep = seen & (widest < np.cos(NARROWEST / 2))
    if not keep.any():
        return None
    rgb = np.zeros((len(mean), 3), dtype=np.uint8)
    for k, photo in enumerate(photos):
        mine = np.flatnonzero(tracks.view == k)
        if len(mine):
            pixels = read_color(photo.path, size_px=photo.size_px)
            column, row = np.clip(tracks.xy[mine].astype(int), 0, np.array(photo.size_px) - 1).T
            rgb[tracks.point[mine]] = pixels[row, column]
    return PointCloud(structure.points[keep], rgb[keep])
