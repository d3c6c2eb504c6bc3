"""`transforms.json` of instant-ngp and nerfstudio, which is also rilievo's own scene folder.

Poses are camera-to-world in OpenGL axes. Intrinsics stand beside the frames or in each of them. A nerfstudio
`mask_path` means *ignore* by that format's definition: pixels where it is black train nothing. Alpha means *object*.
Keys of rilievo's own are `mask_meaning` ("object", "ignore", or "moving" for a clip), which says what `mask_path`
means, `time` in [0, 1] per frame (nerfstudio has it too), and `flow_file_paths`, the files of a frame's optical flow by
the `file_path` of the frame it leads to. Depth is where `depth_file_path` says.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from rilievo.data.depth_file import DepthFile
from rilievo.data.frame import CV_FROM_GL, Frame, Listing, Split, pose_matrix
from rilievo.data.image_files import find_image, size_if_readable
from rilievo.data.intrinsics import read_intrinsics
from rilievo.data.json_file import frames_of, read_object
from rilievo.data.scene import Dropped, MaskMeaning, PointCloud
from rilievo.errors import clear
from rilievo.io.ply import read_points

MILLI = 1e-3


def is_transforms(folder: Path) -> bool:
    return (folder / "transforms.json").is_file()


def list_transforms(folder: Path) -> Listing:
    """Frames sorted by name; those whose file is missing are dropped and told."""
    path = folder / "transforms.json"
    content = read_object(path)
    splits = _splits(content)
    frames: list[Frame] = []
    dropped: list[Dropped] = []
    for entry in frames_of(content, path):
        listed = str(entry.get("file_path", ""))
        image = find_image(folder, listed)
        mask = find_image(folder, str(entry.get("mask_path") or ""))
        if image is None:
            dropped.append(Dropped(listed, "its file is missing"))
            continue
        if mask is None and entry.get("mask_path"):
            dropped.append(Dropped(listed, f"its mask {entry['mask_path']} is missing"))
            continue
        if splits and listed not in splits:
            continue
        lens = read_intrinsics(content, entry, path, size_if_readable(image))
        frames.append(
            Frame(
                image.relative_to(folder).as_posix() if image.is_relative_to(folder) else image.name,
                image,
                pose_matrix(entry.get("transform_matrix")) @ CV_FROM_GL,
                lens.K,
                lens.size_px,
                lens.distortion,
                lens.fisheye,
                mask,
                time=_time(entry, path),
                split=splits.get(listed),
                depth=_depth(folder, entry),
                flows=_flows(folder, entry),
            )
        )
    return Listing(
        "transforms.json",
        tuple(sorted(frames, key=lambda frame: frame.name)),
        mask_meaning=_mask_meaning(content, frames, path),
        points=_points(folder, content),
        dropped=tuple(dropped),
    )


def _splits(content: dict[str, Any]) -> dict[str, Split]:
    """Who each listed file is for; empty where the file has no such lists."""
    train, test, val = (content.get(f"{name}_filenames") or [] for name in ("train", "test", "val"))
    held_out = test or val
    if not train or not held_out:
        return {}
    return dict.fromkeys(train, Split.TRAIN) | dict.fromkeys(held_out, Split.TEST)


def _time(entry: dict[str, Any], path: Path) -> float | None:
    time = entry.get("time")
    if time is None:
        return None
    if not isinstance(time, int | float) or not 0 <= time <= 1:
        raise clear(
            f"{path}: time", expected="a number in [0, 1]", got=repr(time), do="divide by the last frame's time"
        )
    return float(time)


def _depth(folder: Path, entry: dict[str, Any]) -> DepthFile | None:
    """nerfstudio's pictures of depth count thousandths of a unit."""
    listed = entry.get("depth_file_path")
    if not isinstance(listed, str):
        return None
    path = folder / listed
    return DepthFile(path, MILLI if path.suffix.lower() == ".png" else 1.0)


def _flows(folder: Path, entry: dict[str, Any]) -> dict[str, Path]:
    """Flow files by the names of the frames they lead to."""
    listed = entry.get("flow_file_paths")
    if not isinstance(listed, dict):
        return {}
    return {PurePosixPath(name).as_posix(): folder / str(path) for name, path in listed.items()}


def _mask_meaning(content: dict[str, Any], frames: list[Frame], path: Path) -> MaskMeaning | None:
    """What masks that the file names mean; None where it names none, and alpha or a folder may speak."""
    written = content.get("mask_meaning")
    if written is not None and written not in [meaning.value for meaning in MaskMeaning]:
        known = '"object", "ignore" or "moving"'
        raise clear(f"{path}: mask_meaning", expected=known, got=repr(written), do="correct or remove it")
    if written is not None:
        return MaskMeaning(written)
    return MaskMeaning.IGNORE if any(frame.mask is not None for frame in frames) else None


def _points(folder: Path, content: dict[str, Any]) -> PointCloud | None:
    listed = content.get("ply_file_path")
    path = folder / str(listed or "points.ply")
    if not path.is_file():
        return None
    cloud = read_points(path)
    return PointCloud(cloud.xyz, cloud.rgb) if len(cloud.xyz) else None
