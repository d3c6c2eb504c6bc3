"""Frames of a clip: when each was taken, and the scene of a clip whose camera stood still.

Time runs from 0 at the first frame to 1 at the last. What moves says nothing of where a standing camera is, and what
stands still is seen from one place: there is nothing to solve. That camera is the world's origin, with the focal length
that is known of it, or a guess, since nothing in such a clip determines it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from rilievo.data.frame import Listing
from rilievo.errors import clear
from rilievo.sfm.lens import PINHOLE, Belief, belief, degrees_of_view, distortion_of, matrix_of
from rilievo.sfm.photos import PhotoSet
from rilievo.sfm.scene_folder import frame_of, write_folder

LAYOUT = "a clip from a fixed camera"


def timed(found: PhotoSet, frames: Path | None = None) -> PhotoSet:
    """The photos with their times, by the numbers that are their names, or else by their order.

    `frames` is the folder that `video.frames_of_video` wrote them to, which knows how long the video was.
    """
    stems = [PurePosixPath(photo.name).stem for photo in found.photos]
    numbers = [int(stem) for stem in stems] if all(map(_is_number, stems)) else list(range(len(stems)))
    if len(set(numbers)) < len(numbers):  # of several folders
        numbers = list(range(len(stems)))
    first, last = min(numbers), max(numbers)
    if frames is not None:
        first, last = 0, json.loads((frames / "frames.json").read_text(encoding="utf-8"))["frames"] - 1
    times = [(number - first) / max(last - first, 1) for number in numbers]
    return replace(found, photos=tuple(replace(photo, time=time) for photo, time in zip(found.photos, times)))


def write_fixed_camera(found: PhotoSet, out: Path, beside: Path, known: Belief | None = None) -> str:
    """Write the scene of photos with times that one camera took from one place; what to tell the user of its lens.

    Raises `UserError` for photos of several sizes, and where `write_folder` does.
    """
    sizes = {photo.size_px for photo in found.photos}
    if len(sizes) > 1:
        raise clear("--fixed-camera", expected="frames of one size", got=f"{len(sizes)} sizes", do="leave others out")
    size = next(iter(sizes))
    focals = [photo.focal_px for photo in found.photos if photo.focal_px is not None]
    lens = known or belief(size, float(np.median(focals)) if focals else None, PINHOLE)
    K, distortion = matrix_of(lens.mean), distortion_of(lens.mean)
    frames = tuple(frame_of(photo, np.eye(4), K, distortion) for photo in found.photos)
    write_folder(Listing(LAYOUT, frames, mask_meaning=found.mask_meaning), out, beside)
    shutil.rmtree(beside.parent, ignore_errors=True)
    source = "as given" if known else "as EXIF has it" if focals else "a guess; --intrinsics FX,FY,CX,CY if you know it"
    return f"focal length {lens.mean[0]:.0f} px ({degrees_of_view(lens.mean, size[0]):.0f}° across): {source}"


def _is_number(stem: str) -> bool:
    return stem.isascii() and stem.isdecimal()
