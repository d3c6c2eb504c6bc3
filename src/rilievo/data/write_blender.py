"""A scene in the layout of NeRF's synthetic scenes: `transforms_{train,test}.json` and PNGs with alpha.

That format knows one angle of view for all, a principal point in the middle, square pixels and no distortion; a capture
that is not so is refused rather than bent.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from rilievo.data.scene import MaskMeaning, Scene
from rilievo.data.write_photos import stems, write_cut_out
from rilievo.errors import clear
from rilievo.io.atomic import write_text
from rilievo.io.image import write_image

TOLERANCE_PX = 1e-3
"""How far focal lengths and principal points may stray: a ray at the border moves by less than this."""


def write_blender(scene: Scene, folder: Path) -> None:
    """Raises `UserError` where the format cannot hold the capture."""
    _check(scene)
    width, height = scene.cameras.sizes_px[0].tolist()
    focal = scene.cameras.K[0, 0, 0].item()
    shared = {
        "camera_angle_x": 2 * math.atan(width / 2 / focal),
        "w": width,
        "h": height,
        "fl_x": focal,
        "fl_y": focal,
        "cx": width / 2,
        "cy": height / 2,
    }
    poses, names = scene.cameras.world_from_cam_opengl, stems(scene.names)
    for split, views in (("train", scene.train_views), ("test", scene.test_views)):
        frames = []
        for i in views:
            if scene.coverage is not None:
                write_cut_out(scene, i, folder / split, names[i])
            else:
                write_image(folder / split / f"{names[i]}.png", scene.images[i])
            frames.append({"file_path": f"./{split}/{names[i]}", "transform_matrix": poses[i].tolist()})
        if frames:
            text = json.dumps(shared | {"frames": frames}, indent=1)
            write_text(folder / f"transforms_{split}.json", text + "\n")


def _check(scene: Scene) -> None:
    cameras = scene.cameras
    other = "convert to nerfstudio instead, or undistort first"
    if scene.mask_meaning is MaskMeaning.IGNORE:
        raise clear("Blender layout", expected="object masks, its alpha means that", got="ignore masks", do=other)
    if bool(cameras.fisheye.any()) or bool(cameras.distortion.any()):
        raise clear("Blender layout", expected="cameras without distortion", got="distortion", do=other)
    if bool((cameras.sizes_px != cameras.sizes_px[0]).any()):
        raise clear("Blender layout", expected="photos of one size", got="several sizes", do=other)
    K, middle = cameras.K, cameras.sizes_px[0].double() / 2
    if bool(((K[:, :2, 2] - middle).abs() > TOLERANCE_PX).any()):
        got = f"({K[0, 0, 2].item():.3f}, {K[0, 1, 2].item():.3f})"
        expected = f"the principal point in the middle ({middle[0].item():g}, {middle[1].item():g})"
        raise clear("Blender layout", expected=expected, got=got, do=other)
    focals = torch.stack([K[:, 0, 0], K[:, 1, 1]])
    if bool(((focals - focals[0, 0]).abs() > TOLERANCE_PX).any()):
        got = f"{focals.min().item():.3f} to {focals.max().item():.3f} px"
        raise clear("Blender layout", expected="one focal length for all, square pixels", got=got, do=other)
    if bool((K[:, 0, 1].abs() > TOLERANCE_PX).any()):
        raise clear("Blender layout", expected="no skew", got=f"{K[:, 0, 1].abs().max().item():.3f} px", do=other)
