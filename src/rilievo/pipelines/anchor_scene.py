"""A scene that is there, as what new photos are placed in: its photos with their cameras, which stay as they are.

New photos come out as a scene folder of their own, in the frame of the old one and with its points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.alignment.localization import THRESHOLD_PX, localize
from rilievo.data.frame import Frame, Listing
from rilievo.data.load import load_scene
from rilievo.data.scene import Dropped, PointCloud
from rilievo.errors import UserError, clear
from rilievo.sfm.lens import Belief, distortion_of, known, matrix_of, unproject
from rilievo.sfm.photos import Photo, PhotoSet, find_photos
from rilievo.sfm.scene_folder import LAYOUT, frame_of, write_folder


@dataclass(frozen=True)
class AnchorScene:
    """Photos whose cameras are known."""

    folder: Path
    photos: tuple[Photo, ...]
    lenses: tuple[Belief, ...]
    """Of each photo; without deviation."""
    cam_from_world: Float64[np.ndarray, "n 4 4"]
    points: PointCloud | None = None
    lenses_shared: bool = True
    """Photos of the same `lens` text were taken through one lens."""

    def lens_of(self, photo: Photo) -> Belief | None:
        """The lens of the scene's photos that were taken through the same as `photo`, None without such, or where they
        disagree."""
        if not self.lenses_shared:
            return None
        same = [lens for own, lens in zip(self.photos, self.lenses) if own.lens == photo.lens]
        return same[0] if same and all((lens.mean == same[0].mean).all() for lens in same) else None


@dataclass(frozen=True)
class Localized:
    """What was found: the photos that have a place, the others with reasons, and sentences for the user."""

    photos: tuple[Photo, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Sighted:
    """Points of the scene and where a new photo shows them."""

    points: Float[Tensor, "m 3"]
    pixels: Float[Tensor, "m 2"]
    """Of the photo as it is, centres at +0.5."""
    pitch_px: float = 1.0
    """How many of the photo's pixels one of those is in which matches were found."""


def open_anchors(path: Path, lenses: str = "auto") -> AnchorScene:
    """The scene at `path`; `lenses` says which photos share one, as `find_photos` has it.

    Raises `UserError` where there is none, it has fewer than two photos with cameras, or a lens is a fisheye or bends
    more than k1, k2, p1, p2 can say.
    """
    scene = load_scene(path, holdout=0).in_capture_frame()
    folder = path if path.is_dir() else path.parent
    found = find_photos(folder, meaning=scene.mask_meaning, lenses=lenses)
    by_stem = {PurePosixPath(photo.name).stem: photo for photo in found.photos}
    views = [(i, by_stem[stem]) for i, name in enumerate(scene.names) if (stem := PurePosixPath(name).stem) in by_stem]
    if len(views) < 2:
        raise clear(
            f"--onto {path}", expected="at least two photos with cameras", got=str(len(views)), do="align more photos"
        )
    K, bent, fisheye = (a.numpy() for a in (scene.cameras.K, scene.cameras.distortion, scene.cameras.fisheye))
    for i, photo in views:
        if fisheye[i] or bent[i, 2:6].any():
            raise clear(
                f"--onto {path}",
                expected="pinholes with distortion k1, k2, p1, p2 alone",
                got=f"another lens for {photo.name}",
                do="undistort the scene's photos first",
            )
    kept = [i for i, _ in views]
    return AnchorScene(
        folder,
        tuple(photo for _, photo in views),
        tuple(known(K[i].astype(np.float64), bent[i].astype(np.float64)) for i in kept),
        scene.cameras.cam_from_world[kept].numpy(),
        scene.points,
        lenses != "each",
    )


def place_all(
    found: PhotoSet, sighted: Sequence[Sighted], anchors: AnchorScene, lens: Belief | None, out: Path, beside: Path
) -> Localized:
    """Place each photo of `found` by what it shows, and write those that have a place as a scene folder at `out`.

    `lens` is the photos', where it is known; else a photo has the lens of the scene's that were taken through the same,
    or its focal length is found. Raises `UserError` where no photo has a place, or the folder cannot be written.
    """
    frames: list[Frame] = []
    photos: list[Photo] = []
    notes: list[str] = []
    dropped: list[Dropped] = []
    for photo, seen in zip(found.photos, sighted, strict=True):
        try:
            frame, note = _placed(photo, seen, lens or anchors.lens_of(photo))
        except UserError as error:
            if len(found.photos) == 1:
                raise
            dropped.append(Dropped(photo.name, str(error)))
            continue
        frames.append(frame)
        photos.append(photo)
        notes.append(note)
    if not frames:
        raise clear(
            "photos",
            expected=f"pictures of what {anchors.folder} shows",
            got=f"none that has a place in it ({dropped[0].name}: {dropped[0].reason})",
            do="take them nearer to the scene's photos",
        )
    listing = Listing(LAYOUT, tuple(frames), mask_meaning=found.mask_meaning, points=anchors.points)
    write_folder(listing, out, beside)
    return Localized(tuple(photos), found.dropped + tuple(dropped), tuple(notes))


def _placed(photo: Photo, seen: Sighted, lens: Belief | None) -> tuple[Frame, str]:
    reach = THRESHOLD_PX * seen.pitch_px
    if lens is None:
        camera = localize(seen.points, seen.pixels, photo.size_px, threshold_px=reach)
        K, distortion = camera.K.numpy(), np.zeros(8)
    else:
        theta = lens.mean
        plane = unproject(seen.pixels.double().cpu().numpy(), np.tile(theta, (len(seen.pixels), 1)))
        straight = torch.from_numpy(theta[0] * plane + theta[2:4])
        center = torch.from_numpy(theta[2:4].copy())
        camera = localize(
            seen.points.cpu(), straight, photo.size_px, focal_px=float(theta[0]), center_px=center, threshold_px=reach
        )
        K, distortion = matrix_of(theta), distortion_of(theta)
    told = (
        f"{photo.name}: {camera.inlier_count} of {len(seen.points)} matches agree, to {camera.error_px:.2f} px; "
        f"turned ± {camera.rotation_std_deg:.3f} degrees, standing ± {camera.center_std:.2g}"
    )
    if lens is None:
        told += f", focal {K[0, 0]:.1f} ± {camera.focal_std_px:.1f} px"
    return frame_of(photo, camera.world_from_cam.cpu().numpy(), K, distortion), told
