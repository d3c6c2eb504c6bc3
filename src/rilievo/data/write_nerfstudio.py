"""A scene as nerfstudio's `transforms.json`, which is also rilievo's own scene folder.

Object masks become alpha, ignore masks become `mask_path`: each is what the format means by it. Masks of what moves
in a clip become `mask_path` too, and `mask_meaning` says so. Measured depth is in `depth_file_path`, flow in
`flow_file_paths`, by the photo that it leads to, a key of our own. Numbers keep all their digits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rilievo.data.scene import MaskMeaning, Scene
from rilievo.data.write_companions import write_depth, write_flows
from rilievo.data.write_photos import stems, write_cut_out, write_mask, write_photo
from rilievo.io.atomic import write_text
from rilievo.io.ply import write_points

DISTORTION_KEYS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


def write_nerfstudio(scene: Scene, folder: Path) -> None:
    """Write `transforms.json`, `images/`, and `masks/`, `points.ply`, depth and flow where there are any."""
    poses, named = scene.cameras.world_from_cam_opengl, stems(scene.names)
    frames: list[dict[str, Any]] = []
    for i, stem in enumerate(named):
        frame: dict[str, Any] = {}
        if scene.coverage is not None and scene.mask_meaning is MaskMeaning.OBJECT:
            frame["file_path"] = f"images/{write_cut_out(scene, i, folder / 'images', stem)}"
        else:
            frame["file_path"] = f"images/{write_photo(scene, i, folder / 'images', stem)}"
        if scene.coverage is not None and scene.mask_meaning is MaskMeaning.IGNORE:
            frame["mask_path"] = f"masks/{write_mask(scene.coverage[i], folder / 'masks', stem)}"
        elif scene.moving is not None:
            frame["mask_path"] = f"masks/{write_mask(scene.moving[i], folder / 'masks', stem)}"
        frame |= _intrinsics(scene, i)
        if (depth := write_depth(scene, i, folder, stem)) is not None:
            frame["depth_file_path"] = depth
        if scene.times is not None:
            frame["time"] = float(scene.times[i])
        frame["transform_matrix"] = poses[i].tolist()
        frames.append(frame)
    for i, frame in enumerate(frames):
        if flows := write_flows(scene, i, folder, named):
            frame["flow_file_paths"] = {frames[j]["file_path"]: path for j, path in flows.items()}
    same = [key for key in frames[0] if key in _SHARED_KEYS and all(f.get(key) == frames[0][key] for f in frames)]
    content: dict[str, Any] = {key: frames[0][key] for key in same}
    content["frames"] = [{key: value for key, value in frame.items() if key not in same} for frame in frames]
    if scene.points is not None:
        write_points(folder / "points.ply", scene.points.xyz, scene.points.rgb)
        content["ply_file_path"] = "points.ply"
    if scene.moving is not None:
        content["mask_meaning"] = MaskMeaning.MOVING.value
    if scene.test_views:
        content["train_filenames"] = [frames[i]["file_path"] for i in scene.train_views]
        content["test_filenames"] = [frames[i]["file_path"] for i in scene.test_views]
        content["val_filenames"] = content["test_filenames"]
    write_text(folder / "transforms.json", json.dumps(content, indent=1) + "\n")


_SHARED_KEYS = frozenset({"w", "h", "fl_x", "fl_y", "cx", "cy", "camera_model", *DISTORTION_KEYS})


def _intrinsics(scene: Scene, i: int) -> dict[str, Any]:
    K, (width, height) = scene.cameras.K[i], scene.cameras.sizes_px[i].tolist()
    named = {"w": width, "h": height, "fl_x": K[0, 0].item(), "fl_y": K[1, 1].item()}
    named |= {"cx": K[0, 2].item(), "cy": K[1, 2].item()}
    named["camera_model"] = "OPENCV_FISHEYE" if scene.cameras.fisheye[i] else "OPENCV"
    distortion = dict(zip(DISTORTION_KEYS, scene.cameras.distortion[i].tolist()))
    return named | {key: value for key, value in distortion.items() if value != 0 or key in {"k1", "k2", "p1", "p2"}}
