"""Clips cut to one camera of a rig, with the other cameras to test on: Nvidia's dynamic scenes (Yoon et al. 2020) and
DyNeRF (Li et al. 2022), as MoDGS prepares them.

Beside the frames of `modgs_selfmade` there are `mv_images/<time>/camXX.jpg`, the rig's poses, in COLMAP's `sparse/`
(Nvidia; one image per camera, camXX being number XX - 1 there) or `poses_bounds.npy` (DyNeRF; a row per camera), and
`colmap_to_depth_scale.json`: lengths of the poses over lengths of the clip's depth. The world stands at the training
camera, in units of depth. Which cameras train and test is as published: in order of names the fourth trains and its two
neighbours test (Nvidia), or the first trains and the fifth and sixth of the others, counted from 0, test (DyNeRF).

The published evaluation renders the rig's poses with a guessed focal length. Here training and test views have the
lenses that their poses were found with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from rilievo.data.frame import Frame, Listing, Split
from rilievo.data.image_files import find_image, images_in
from rilievo.data.json_file import number, read_object
from rilievo.data.llff import POSES_FILE, read_poses_bounds
from rilievo.data.modgs_selfmade import FixedClip, fixed_clip, list_modgs_selfmade
from rilievo.data.scaled_photos import scaled_photos
from rilievo.data.scene import Dropped
from rilievo.errors import clear
from rilievo.geometry import se3
from rilievo.io.colmap_binary import read_binary
from rilievo.io.colmap_lens import lens_of
from rilievo.io.colmap_text import read_text

RIG_FOLDER = "mv_images"
SCALE_FILE = "colmap_to_depth_scale.json"
COLMAP_TRAIN, COLMAP_TEST = 3, (2, 4)
LLFF_TRAIN, LLFF_TEST = 0, (6, 7)
"""Rows; 6 and 7 of all are 5 and 6 of those that do not train."""


@dataclass(frozen=True)
class RigCamera:
    """One camera of the rig, in the frame its poses were found in."""

    name: str
    """Its photos' stem: cam04."""
    world_from_cam: Float64[np.ndarray, "4 4"]
    K: Float64[np.ndarray, "3 3"]
    size_px: tuple[int, int] | None
    distortion: Float64[np.ndarray, "8"]
    fisheye: bool = False


def is_nvidia_dynamic(folder: Path) -> bool:
    return (folder / RIG_FOLDER).is_dir() and scaled_photos(folder) is not None


def list_nvidia_dynamic(folder: Path) -> Listing:
    """The clip's frames, then the test cameras' at all times; the clip alone, and a note, where the rig is unknown."""
    model = next((m for m in (folder / "sparse", folder / "sparse/0") if _has_model(m)), None)
    scale_file = next((p for p in (folder / "sparse" / SCALE_FILE, folder / SCALE_FILE) if p.is_file()), None)
    if scale_file is None or (model is None and not (folder / POSES_FILE).is_file()):
        alone = list_modgs_selfmade(folder)
        missing = SCALE_FILE if scale_file is None else f"sparse/ or {POSES_FILE}"
        note = f"the views of {RIG_FOLDER}/ are not used, since their poses need {missing}"
        return replace(alone, notes=(*alone.notes, note))
    scale = number(read_object(scale_file), "scale", scale_file)
    if not 0 < scale < np.inf:
        raise clear(str(scale_file), expected="a scale above 0", got=str(scale), do="estimate it again")
    if model is not None:
        cameras, trains, tests = _colmap_rig(model), COLMAP_TRAIN, COLMAP_TEST
    else:
        cameras, trains, tests = _llff_rig(folder), LLFF_TRAIN, LLFF_TEST
    if len(cameras) <= max(tests):
        raise clear(
            str(model or folder / POSES_FILE),
            expected=f"at least {max(tests) + 1} cameras of the rig",
            got=f"{len(cameras)}",
            do=f"give all of them, or take {SCALE_FILE} away to train on the clip without test views",
        )
    clip = fixed_clip(folder)
    frames = [_with_lens(frame, cameras[trains]) for frame in clip.frames]
    test_frames, dropped = _test_frames(folder, clip, cameras[trains], [cameras[i] for i in tests], scale)
    return Listing(
        f"a clip of a rig's {cameras[trains].name} (MoDGS), photos of rgb/{clip.factor}x",
        (*frames, *test_frames),
        dropped=(*clip.dropped, *dropped),
        notes=(f"test views are those of {' and '.join(cameras[i].name for i in tests)}",),
    )


def relative_pose(
    world_from_train: Float64[np.ndarray, "4 4"], world_from_test: Float64[np.ndarray, "4 4"], scale: float
) -> Float64[np.ndarray, "4 4"]:
    """train_from_test, with lengths divided by `scale`."""
    relative = se3.inverse(torch.from_numpy(world_from_train)).numpy() @ world_from_test
    relative[:3, 3] /= scale
    return relative


def _with_lens(frame: Frame, camera: RigCamera) -> Frame:
    return replace(
        frame,
        K=camera.K,
        size_px=camera.size_px,
        distortion=camera.distortion,
        fisheye=camera.fisheye,
    )


def _test_frames(
    folder: Path, clip: FixedClip, train: RigCamera, tests: list[RigCamera], scale: float
) -> tuple[list[Frame], list[Dropped]]:
    """The test cameras' photos by time, in the training camera's frame."""
    frames: list[Frame] = []
    dropped: list[Dropped] = []
    for moment in _moments(folder):
        for camera in tests:
            listed = f"{RIG_FOLDER}/{moment.name}/{camera.name}"
            image = find_image(folder, listed)
            if image is None:
                dropped.append(Dropped(listed, "its file is missing"))
            elif int(moment.name) > clip.last:
                dropped.append(Dropped(listed, f"its time is after the clip's last, {clip.last}"))
            else:
                pose = relative_pose(train.world_from_cam, camera.world_from_cam, scale)
                time = int(moment.name) / max(clip.last, 1)
                frame = Frame(image.relative_to(folder).as_posix(), image, pose, camera.K, time=time, split=Split.TEST)
                frames.append(_with_lens(frame, camera))
    return frames, dropped


def _moments(folder: Path) -> list[Path]:
    """The folders of `mv_images/`, one for each time."""
    found = (p for p in (folder / RIG_FOLDER).iterdir() if p.is_dir() and p.name.isascii() and p.name.isdecimal())
    return sorted(found, key=lambda path: int(path.name))


def _has_model(folder: Path) -> bool:
    return any(
        all((folder / f"{part}{suffix}").is_file() for part in ("cameras", "images")) for suffix in (".bin", ".txt")
    )


def _colmap_rig(folder: Path) -> list[RigCamera]:
    model = read_binary(folder) if (folder / "images.bin").is_file() else read_text(folder)
    rig: list[RigCamera] = []
    for image in sorted(model.images, key=lambda image: image.name):
        camera = model.cameras.get(image.camera_id)
        if camera is None:
            raise clear(
                f"{folder}: {image.name}",
                expected="a camera in the model",
                got=f"none with the number {image.camera_id}",
                do="export the model again",
            )
        lens, stem = lens_of(camera.model, camera.parameters), Path(image.name).stem
        name = f"cam{int(stem) + 1:02d}" if stem.isascii() and stem.isdecimal() else stem
        pose = se3.inverse(torch.from_numpy(image.cam_from_world)).numpy()
        rig.append(RigCamera(name, pose, lens.K, (camera.width, camera.height), lens.distortion, lens.fisheye))
    return rig


def _llff_rig(folder: Path) -> list[RigCamera]:
    """The rows, named after the photos of the first moment that has one for each."""
    lenses = read_poses_bounds(folder / POSES_FILE)
    names = ([path.stem for path in images_in(moment)] for moment in _moments(folder))
    whole = next((stems for stems in names if len(stems) == len(lenses)), None)
    stems = [f"cam{i:02d}" for i in range(len(lenses))] if whole is None else whole
    return [
        RigCamera(stem, lens.world_from_cam, lens.K, lens.size_px, np.zeros(8)) for stem, lens in zip(stems, lenses)
    ]
