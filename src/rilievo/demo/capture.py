"""The demo's capture on disk: a rilievo scene folder with alpha mattes and held-out views, and the true surface."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from rilievo.cameras.camera import Cameras
from rilievo.demo import amphora, studio
from rilievo.geometry.mesh import TriMesh
from rilievo.io.atomic import write_text
from rilievo.io.image import write_image
from rilievo.meshing.surface import extract_surface

VIEWS = 42
HOLDOUT = 7
"""Every seventh view is held out."""
SIZE_PX = 200


def write_capture(
    folder: Path, *, views: int = VIEWS, size_px: int = SIZE_PX, on_view: Callable[[int], None] = lambda i: None
) -> None:
    """Photograph the amphora into `folder`. `transforms.json` is written last, so where it is, all is."""
    cameras = studio.cameras(views, size_px)
    for i in range(views):
        write_image(folder / _file(i), studio.photograph(cameras[i]))
        on_view(i)
    write_text(folder / "transforms.json", json.dumps(_transforms(cameras), indent=1))


def true_surface(resolution: int = 192) -> TriMesh:
    """The amphora itself, with normals and unlit colours, by marching cubes of its formula."""
    corner = torch.full((3,), amphora.RADIUS + 0.02)
    return extract_surface(
        amphora.sdf, -corner, corner, resolution, lipschitz=amphora.LIPSCHITZ, refine=2, gradient=amphora.normals
    )


def _file(i: int) -> str:
    return f"images/{i:04d}.png"


def _transforms(cameras: Cameras) -> dict[str, object]:
    poses = cameras.world_from_cam_opengl.tolist()
    names = [_file(i) for i in range(len(cameras))]
    held_out = names[HOLDOUT // 2 :: HOLDOUT]
    width, height = cameras.sizes_px[0].tolist()
    K = cameras.K[0]
    return {
        "camera_model": "OPENCV",
        "w": width,
        "h": height,
        "fl_x": K[0, 0].item(),
        "fl_y": K[1, 1].item(),
        "cx": K[0, 2].item(),
        "cy": K[1, 2].item(),
        "frames": [{"file_path": name, "transform_matrix": pose} for name, pose in zip(names, poses, strict=True)],
        "train_filenames": [name for name in names if name not in held_out],
        "test_filenames": held_out,
    }
