"""What an alignment leaves to look at: a coloured point cloud, and a GLB with points, cameras and their photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from rilievo.alignment.dense import DenseView
from rilievo.errors import clear
from rilievo.io.atomic import replacing
from rilievo.io.ply import write_points

FRUSTUM = 0.05
"""How far before its camera a photo is drawn, in units of the points' extent."""


def confident_points(
    views: Sequence[DenseView], images: Sequence[UInt8[Tensor, "_h _w 3"]], least_confidence: float = 1.5
) -> tuple[Float[np.ndarray, "p 3"], UInt8[np.ndarray, "p 3"]]:
    """World points and sRGB of all pixels that are surer than `least_confidence`.

    Raises `UserError` where there are none.
    """
    keep = [view.confidence > least_confidence for view in views]
    if not any(bool(mask.any()) for mask in keep):
        raise clear(
            "points",
            expected=f"pixels with a confidence above {least_confidence}",
            got="none",
            do="lower the least confidence, or check the masks",
        )
    points = np.concatenate([view.points[mask].cpu().numpy() for view, mask in zip(views, keep, strict=True)])
    colors = np.concatenate([image[mask].cpu().numpy() for image, mask in zip(images, keep, strict=True)])
    return points, colors


def write_cloud(
    path: Path,
    views: Sequence[DenseView],
    images: Sequence[UInt8[Tensor, "_h _w 3"]],
    least_confidence: float = 1.5,
) -> int:
    """Write the confident points as PLY, whole or not at all; returns how many there are."""
    points, colors = confident_points(views, images, least_confidence)
    write_points(path, points, colors)
    return len(points)


def write_glb(
    path: Path,
    views: Sequence[DenseView],
    images: Sequence[UInt8[Tensor, "_h _w 3"]],
    K: Float[Tensor, "n 3 3"],
    world_from_cam: Float[Tensor, "n 4 4"],
    least_confidence: float = 1.5,
) -> None:
    """Write points, and each camera as its photo on the image plane of a small pyramid, in the world's own axes.

    K is in px of the photos, a pixel's centre at +0.5.
    """
    import trimesh

    points, colors = confident_points(views, images, least_confidence)
    extent = float(np.linalg.norm(np.subtract(*np.quantile(points, (0.95, 0.05), axis=0))))
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.PointCloud(points, colors), geom_name="points")
    for index, image in enumerate(images):
        pose, calibration = world_from_cam[index].cpu().double().numpy(), K[index].cpu().double().numpy()
        corners = _corners(image.shape[0], image.shape[1], calibration, FRUSTUM * extent)
        scene.add_geometry(_photo(corners, image), geom_name=f"photo {index}", transform=pose)
        scene.add_geometry(_pyramid(corners), geom_name=f"camera {index}", transform=pose)
    with replacing(path) as temporary:
        temporary.write_bytes(scene.export(file_type="glb"))


def _corners(height: int, width: int, K: np.ndarray, far: float) -> Float[np.ndarray, "4 3"]:
    """Corners of the image at depth `far`, in the camera's axes: clockwise from the top left."""
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], dtype=np.float64)
    return far * pixels @ np.linalg.inv(K).T


def _photo(corners: Float[np.ndarray, "4 3"], image: UInt8[Tensor, "h w 3"]):  # type: ignore[no-untyped-def]  # trimesh has no types
    import trimesh
    from PIL import Image

    texture = Image.fromarray(image.cpu().numpy())
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=texture, doubleSided=True, metallicFactor=0.0, roughnessFactor=1.0
    )
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=np.float64)
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


def _pyramid(corners: Float[np.ndarray, "4 3"]):  # type: ignore[no-untyped-def]  # trimesh has no types
    import trimesh

    edges = [(np.zeros(3), corner) for corner in corners]
    edges += [(corners[k - 1], corners[k]) for k in range(4)]
    return trimesh.load_path(np.array(edges))
