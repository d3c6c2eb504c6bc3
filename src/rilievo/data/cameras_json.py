"""rilievo's own plain list of cameras: `cameras.json`, camera-to-world in OpenCV axes.

Per frame: `image`, K (3x3, pixels, pixel centres at +0.5), `camera_to_world` (4x4), and optionally `width`, `height`
(else those beside the frames), `mask`, `depth`, `distortion` (k1 … k6, p1, p2), `fisheye`, `time` in [0, 1] or `frame`,
a video's frame number. Masks of a clip, whose frames all have a time, mark what moves. A turntable has
`camera_to_object` too, which is then the pose that a reconstruction of the object needs. `cameras_test.json` beside it
lists held-out views.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rilievo.data.depth_file import DepthFile
from rilievo.data.frame import Frame, Listing, Split, pose_matrix
from rilievo.data.image_files import find_image
from rilievo.data.json_file import frames_of, read_object
from rilievo.data.scene import Dropped, MaskMeaning, PointCloud
from rilievo.io.ply import read_points


def is_cameras_json(folder: Path) -> bool:
    return (folder / "cameras.json").is_file()


def list_cameras_json(folder: Path) -> Listing:
    content, path = read_object(folder / "cameras.json"), folder / "cameras.json"
    test_path = folder / "cameras_test.json"
    test_content = read_object(test_path) if test_path.is_file() else None
    entries = frames_of(content, path)
    test_entries = [] if test_content is None else frames_of(test_content, test_path)
    object_frame = all("camera_to_object" in entry for entry in entries)
    last = max((entry["frame"] for entry in entries if isinstance(entry.get("frame"), int)), default=0)
    frames: list[Frame] = []
    dropped: list[Dropped] = []
    for shared, split, listed in (
        (content, Split.TRAIN if test_entries else None, entries),
        (test_content or {}, Split.TEST, test_entries),
    ):
        for entry in listed:
            judged = _frame(
                folder, shared, entry, split, "camera_to_object" if object_frame else "camera_to_world", last
            )
            (frames if isinstance(judged, Frame) else dropped).append(judged)  # type: ignore[arg-type]  # by its kind
    is_clip = len(frames) > 0 and all(frame.time is not None for frame in frames)
    points = read_points(folder / "points.ply") if (folder / "points.ply").is_file() else None
    return Listing(
        "cameras.json",
        tuple(frames),
        mask_meaning=None if object_frame or not is_clip else MaskMeaning.MOVING,
        points=None if points is None else PointCloud(points.xyz, points.rgb),
        dropped=tuple(dropped),
        notes=("poses are relative to the object on its turntable (camera_to_object)",) if object_frame else (),
    )


def _frame(
    folder: Path, shared: dict[str, Any], entry: dict[str, Any], split: Split | None, pose_key: str, last: int
) -> Frame | Dropped:
    listed = str(entry.get("image", ""))
    image = find_image(folder, listed)
    if image is None:
        return Dropped(listed, "its file is missing")
    mask = find_image(folder, str(entry.get("mask") or ""))
    if mask is None and entry.get("mask"):
        return Dropped(listed, f"its mask {entry['mask']} is missing")
    try:
        K = np.array(entry.get("K", shared.get("K")), dtype=np.float64)
        distortion = np.array(entry.get("distortion", np.zeros(8)), dtype=np.float64)
    except (TypeError, ValueError):
        return Dropped(listed, "its K or distortion is not made of numbers")
    if K.shape != (3, 3) or distortion.shape != (8,):
        return Dropped(listed, "its K is not 3x3, or its distortion has not 8 coefficients")
    width, height = entry.get("width", shared.get("width")), entry.get("height", shared.get("height"))
    size_px = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    time = entry.get("time")
    if time is None and last > 0 and isinstance(entry.get("frame"), int):
        time = entry["frame"] / last
    pose = pose_matrix(entry.get(pose_key, entry.get("camera_to_world")))
    fisheye = entry.get("fisheye") is True
    time = None if time is None else float(time)
    depth = DepthFile(folder / entry["depth"]) if isinstance(entry.get("depth"), str) else None
    return Frame(listed, image, pose, K, size_px, distortion, fisheye, mask, time, split, depth)
