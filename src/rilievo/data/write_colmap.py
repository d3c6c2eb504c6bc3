"""A scene as a COLMAP binary model: `sparse/0`, `images/`, and `masks/` named `photo.jpg.png` as COLMAP wants them.

The format has no word for held-out views, times, or what masks mean.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rilievo.data.scene import Scene
from rilievo.data.write_photos import stems, write_mask, write_photo
from rilievo.io.colmap_binary import write_binary
from rilievo.io.colmap_lens import Lens, model_of
from rilievo.io.colmap_model import ColmapCamera, ColmapImage, ColmapModel, quaternion_of


def write_colmap(scene: Scene, folder: Path) -> None:
    """Photos with the same intrinsics share a COLMAP camera."""
    cameras: dict[tuple[object, ...], ColmapCamera] = {}
    images: list[ColmapImage] = []
    cam_from_world = scene.cameras.cam_from_world.numpy()
    for i, stem in enumerate(stems(scene.names)):
        name = write_photo(scene, i, folder / "images", stem)
        if scene.coverage is not None:
            write_mask(scene.coverage[i], folder / "masks", name)
        width, height = scene.cameras.sizes_px[i].tolist()
        lens = Lens(
            scene.cameras.K[i].numpy(), scene.cameras.distortion[i].numpy(), bool(scene.cameras.fisheye[i].item())
        )
        model, parameters = model_of(lens)
        camera = cameras.setdefault(
            (model.id, width, height, parameters),
            ColmapCamera(len(cameras) + 1, model, width, height, parameters),
        )
        pose = cam_from_world[i]
        images.append(ColmapImage(i + 1, quaternion_of(pose[:3, :3]), pose[:3, 3], camera.id, name))
    xyz = np.zeros((0, 3)) if scene.points is None else scene.points.xyz
    rgb = np.full((len(xyz), 3), 128, dtype=np.uint8)
    if scene.points is not None and scene.points.rgb is not None:
        rgb = scene.points.rgb
    model_out = ColmapModel({camera.id: camera for camera in cameras.values()}, tuple(images), xyz, rgb)
    write_binary(folder / "sparse" / "0", model_out)
