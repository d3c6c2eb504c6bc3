"""Camera paths from JSON files: a list of poses, or the path that nerfstudio's viewer exports."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.paths import follow
from rilievo.errors import clear


def path_from_file(file: Path, lens: Cameras) -> Cameras:
    """Cameras of a path in the frame the file is written in; move them with `Cameras.transformed`.

    Either a JSON list of world_from_cam matrices in our axes (x right, y down, z forward), 4x4 or 3x4, seen through
    the first camera of `lens`; or a nerfstudio camera path, whose poses have OpenGL axes and bring their field of view
    and size.

    Raises `UserError` for a file that is neither, with what is wrong and where.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise clear(f"camera path {file}", expected="a JSON file", got="no file", do="check the path") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise clear(f"camera path {file}", expected="JSON", got=f"{error}", do="export the path again") from None
    if isinstance(content, dict) and isinstance(content.get("camera_path"), list):
        return _nerfstudio(content, file)
    if isinstance(content, list) and content:
        return follow(torch.stack([_pose(p, file, i) for i, p in enumerate(content)]), lens)
    raise clear(
        f"camera path {file}",
        expected='a list of 4x4 poses, or a nerfstudio path with "camera_path"',
        got=_brief(content),
        do="export the path again",
    )


def _nerfstudio(content: dict[str, Any], file: Path) -> Cameras:
    kind = content.get("camera_type", "perspective")
    size = (content.get("render_width"), content.get("render_height"))
    frames = content["camera_path"]
    if kind != "perspective" or not all(isinstance(s, int | float) and s >= 1 for s in size) or not frames:
        raise clear(
            f"camera path {file}",
            expected="a perspective path of at least one frame with render_width and render_height",
            got=f"{len(frames)} frames, type {kind}, size {size[0]} x {size[1]}",
            do="export the path again",
        )
    width, height = (round(float(s)) for s in size if s is not None)
    poses, Ks = [], []
    for i, frame in enumerate(frames):
        fov = frame.get("fov") if isinstance(frame, dict) else None
        if not isinstance(fov, int | float) or not 0 < fov < 180:
            raise clear(
                f"camera path {file}, frame {i}",
                expected="a vertical field of view (fov) in degrees",
                got=_brief(fov),
                do="export the path again",
            )
        focal = height / 2 / math.tan(math.radians(fov) / 2)
        Ks.append([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
        poses.append(_pose(frame.get("camera_to_world"), file, i))
    sizes_px = torch.tensor([[width, height]]).repeat(len(poses), 1)
    return Cameras.from_opengl(torch.stack(poses), torch.tensor(Ks, dtype=torch.float64), sizes_px)


def _pose(values: Any, file: Path, i: int) -> Tensor:
    """A pose written as 4x4 or 3x4 rows, nested or flat."""
    try:
        numbers = torch.tensor(values, dtype=torch.float64).flatten()
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.zeros(0)
    if len(numbers) not in (12, 16):
        raise clear(
            f"camera path {file}, frame {i}",
            expected="a pose of 4x4 or 3x4 numbers",
            got=_brief(values),
            do="write camera-to-world matrices row by row",
        )
    pose = torch.eye(4, dtype=torch.float64)
    pose[: len(numbers) // 4] = numbers.reshape(-1, 4)
    return pose


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
