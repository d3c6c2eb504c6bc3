"""From what a layout says to a `Scene`: photos are looked at, frames judged one by one, cameras made to fit the pixels.

A frame that cannot be used is dropped with its reason; what is wrong for all of them, or wrong in a way that would
spoil the result silently (a mask or a camera for another photo), is a `UserError`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float64

from rilievo.cameras.camera import Cameras
from rilievo.data import masks
from rilievo.data.companions import told, with_companions
from rilievo.data.frame import Frame, Judged, Listing
from rilievo.data.held_out import held_out
from rilievo.data.region import find_region
from rilievo.data.scene import Dropped, MaskMeaning, Region, Scene
from rilievo.data.stored import Channel, StoredImage, StoredImages
from rilievo.errors import UserError, clear
from rilievo.io.image import read_header

T = TypeVar("T")

NEARLY_RIGID = 1e-2
"""Largest |RᵀR - 1| that is repaired as rounding; beyond it the frame's pose is no rotation."""


@dataclass(frozen=True)
class Opening:
    """How the user wants a capture opened; see `load_scene`."""

    downscale: float = 1.0
    max_side: int | None = None
    mask_meaning: MaskMeaning | None = None
    holdout: int | None = None
    region: tuple[float, ...] | None = None
    """x, y, z, radius."""
    verify: bool = True


def assemble(folder: Path, listing: Listing, opening: Opening) -> Scene:
    """Build the scene. Raises `UserError` when no frame is usable, or a mask or K belongs to another photo."""
    judged, dropped = _judge(with_companions(folder, listing.frames), opening.verify)
    dropped = listing.dropped + dropped
    if not judged:
        reasons = sorted({f"{d.name}: {d.reason}" for d in dropped})[:3]
        raise clear(
            f"{folder} ({listing.layout})",
            expected="at least one usable photo with its pose",
            got="none; " + "; ".join(reasons) if reasons else "no frames",
            do="check the file names and poses in the capture",
        )
    notes = [f"read as {listing.layout}: {len(judged)} photos", *listing.notes]
    judged, fit_notes = _fit_cameras(judged)
    notes += fit_notes
    test_views, split_note = held_out([j.frame for j in judged], opening.holdout)
    times = _times([j.frame for j in judged])
    sizes = [_target_size(j, opening) for j in judged]
    chosen = masks.choose(folder, listing, judged, sizes, opening.mask_meaning, is_clip=times is not None)
    scene = Scene(
        name=folder.resolve().name,
        cameras=_cameras(judged, sizes),
        names=tuple(j.frame.name for j in judged),
        images=StoredImages([_color(j, size) for j, size in zip(judged, sizes)]),
        coverage=chosen.coverage,
        mask_meaning=chosen.meaning,
        test_views=test_views,
        region=Region(np.zeros(3), 1.0, "not yet found"),
        points=listing.points,
        times=times,
        moving=chosen.moving,
        depth_files=_if_any(tuple(j.frame.depth for j in judged)),
        flow_files=_if_any(tuple(j.frame.flows for j in judged)),
        capture_from_world=torch.from_numpy(listing.capture_from_world),
        dropped=dropped,
        folder=folder,
    )
    if opening.region is not None:
        region = _given_region(opening.region, listing.capture_from_world)
    else:
        region = listing.region or find_region(scene)
    if dropped:
        notes.append(f"{len(dropped)} listed frames are not used")
    notes += [*told(scene), *chosen.notes, split_note]
    notes.append(f"region of interest: {region.reason}")
    return replace(scene, region=region, notes=tuple(notes))


def _judge(frames: Sequence[Frame], verify: bool) -> tuple[list[Judged], tuple[Dropped, ...]]:
    """Usable frames in order, and the others with their reasons. Photos are decoded in parallel."""

    def judge(frame: Frame) -> Judged | Dropped:
        if (fault := _pose_fault(frame)) is not None:
            return Dropped(frame.name, fault)
        try:
            header = read_header(frame.image, decode=verify)
        except UserError as error:
            return Dropped(frame.name, f"its photo cannot be read ({error})")
        return Judged(replace(frame, world_from_cam=_rigid(frame.world_from_cam)), header)

    with ThreadPoolExecutor(max_workers=8) as pool:  # Pillow decodes outside the interpreter's lock
        verdicts = list(pool.map(judge, frames))
    return [v for v in verdicts if isinstance(v, Judged)], tuple(v for v in verdicts if isinstance(v, Dropped))


def _pose_fault(frame: Frame) -> str | None:
    if not np.isfinite(frame.world_from_cam).all():
        return "its pose is not a 4x4 matrix of finite numbers"
    R = frame.world_from_cam[:3, :3]
    if np.abs(R.T @ R - np.eye(3)).max() > NEARLY_RIGID or np.linalg.det(R) < 0:
        return "its pose is not a rotation and a translation"
    if not (
        np.isfinite(frame.K).all() and np.isfinite(frame.distortion).all() and frame.K[0, 0] > 0 and frame.K[1, 1] > 0
    ):
        return "its intrinsics are not finite and positive"
    return None


def _rigid(pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """The pose with its rotation replaced by the nearest one; exact rotations pass untouched."""
    R = pose[:3, :3]
    pose = pose.copy()
    pose[3] = 0, 0, 0, 1
    if np.abs(R.T @ R - np.eye(3)).max() > 1e-7:
        U, _, Vt = np.linalg.svd(R)
        pose[:3, :3] = U @ Vt
    return pose


def _fit_cameras(judged: list[Judged]) -> tuple[list[Judged], list[str]]:
    """K rescaled to the photo's own size where the layout gives it for another one of the same shape."""
    fitted: list[Judged] = []
    rescaled: dict[tuple[tuple[int, int], tuple[int, int]], int] = {}
    sideways = 0
    for j in judged:
        listed, actual, orient = j.frame.size_px, j.header.size_px, True
        if listed is not None and listed == j.header.stored_size_px != actual:
            actual, orient = listed, False  # calibrated on the pixels as stored, before EXIF orientation
            sideways += 1
        K = j.frame.K
        if listed is not None and listed != actual:
            if not _same_shape(listed, actual):
                raise clear(
                    f"camera of {j.frame.name}",
                    expected=f"intrinsics for its photo of {actual[0]}x{actual[1]} pixels",
                    got=f"intrinsics for {listed[0]}x{listed[1]}, which is another shape",
                    do="give the intrinsics of this photo, or the photo as it was when they were measured",
                )
            K = np.diag([actual[0] / listed[0], actual[1] / listed[1], 1.0]) @ K
            rescaled[listed, actual] = rescaled.get((listed, actual), 0) + 1
        if not (0 <= K[0, 2] <= actual[0] and 0 <= K[1, 2] <= actual[1]):
            raise clear(
                f"camera of {j.frame.name}",
                expected=f"a principal point inside its photo of {actual[0]}x{actual[1]} pixels",
                got=f"({K[0, 2]:.1f}, {K[1, 2]:.1f})",
                do="give the intrinsics for this size of photo, or w and h of the size they are for",
            )
        fitted.append(Judged(replace(j.frame, K=K, size_px=actual), j.header, orient))
    notes = [
        f"intrinsics were given for {a[0]}x{a[1]} and rescaled to {b[0]}x{b[1]} pixels ({count} photos)"
        for (a, b), count in rescaled.items()
    ]
    if sideways:
        notes.append(
            f"EXIF orientation of {sideways} photos is ignored, since their cameras are for the pixels as stored"
        )
    return fitted, notes


def _same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether one size is the other, scaled and rounded to whole pixels."""
    scale = max(b) / max(a)
    return abs(a[0] * scale - b[0]) <= max(1.0, scale) and abs(a[1] * scale - b[1]) <= max(1.0, scale)


def _target_size(j: Judged, opening: Opening) -> tuple[int, int]:
    width, height = j.frame.size_px or j.header.size_px
    shrink = opening.downscale
    if opening.max_side is not None:
        shrink = max(shrink, max(width, height) / opening.max_side)
    return max(1, math.floor(width / shrink + 0.5)), max(1, math.floor(height / shrink + 0.5))


def _color(j: Judged, size_px: tuple[int, int]) -> StoredImage:
    verbatim = size_px == j.header.stored_size_px and j.header.upright and not j.header.has_alpha
    return StoredImage(j.frame.image, Channel.COLOR, size_px, j.orient, verbatim)


def _cameras(judged: list[Judged], sizes: list[tuple[int, int]]) -> Cameras:
    K = []
    for j, (width, height) in zip(judged, sizes):
        full_width, full_height = j.frame.size_px or j.header.size_px
        K.append(np.diag([width / full_width, height / full_height, 1.0]) @ j.frame.K)
    return Cameras(
        world_from_cam=torch.from_numpy(np.stack([j.frame.world_from_cam for j in judged])),
        K=torch.from_numpy(np.stack(K)),
        sizes_px=torch.tensor(sizes, dtype=torch.int64),
        distortion=torch.from_numpy(np.stack([j.frame.distortion for j in judged])),
        fisheye=torch.tensor([j.frame.fisheye for j in judged]),
    )


def _if_any(per_frame: tuple[T, ...]) -> tuple[T, ...] | None:
    """None where no frame has any."""
    return per_frame if any(per_frame) else None


def _times(frames: list[Frame]) -> torch.Tensor | None:
    times = [frame.time for frame in frames if frame.time is not None]
    return torch.tensor(times, dtype=torch.float32) if len(times) == len(frames) else None


def _given_region(ball: tuple[float, ...], capture_from_world: Float64[np.ndarray, "4 4"]) -> Region:
    """The user's ball, given in the capture's frame, in the scene's world."""
    x, y, z, radius = ball
    world_from_capture = np.linalg.inv(capture_from_world)
    scale = float(np.cbrt(np.linalg.det(world_from_capture[:3, :3])))
    moved = world_from_capture[:3, :3] @ np.array([x, y, z]) + world_from_capture[:3, 3]
    return Region(moved, radius * scale, "given by you")
