"""A picture of a capture as it was understood: are the photos right, the cameras right, and the ball round the right
thing?

Top: photos, with the ball of interest drawn as the circle each camera sees, outside of masks dimmed. Below: the cameras
(their frusta), the scene points and the ball from above and from the side, up being where the cameras were held up.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw

from rilievo.cameras.orientation import up_direction
from rilievo.data.orientation import upright_from
from rilievo.data.scene import Scene
from rilievo.io.image import write_image

WIDTH = 1200
COLUMNS = 6
MAX_PHOTOS = 18
PAPER, INK, TRAIN, TEST, BALL, POINT = "#ffffff", "#333333", "#2b6cb0", "#dd6b20", "#c53030", "#a0aec0"


def write_preview(scene: Scene, path: Path) -> None:
    """Save `preview_picture` as an image file."""
    write_image(path, preview_picture(scene))


def preview_picture(scene: Scene) -> UInt8[np.ndarray, "h w 3"]:
    """The contact sheet above the two plots."""
    sheet, plots = _contact_sheet(scene), _plots(scene)
    page = Image.new("RGB", (WIDTH, sheet.height + plots.height), PAPER)
    page.paste(sheet, (0, 0))
    page.paste(plots, (0, sheet.height))
    return np.asarray(page)


def _contact_sheet(scene: Scene) -> Image.Image:
    views = np.unique(np.linspace(0, len(scene) - 1, min(len(scene), MAX_PHOTOS)).round().astype(int)).tolist()
    side = WIDTH // COLUMNS
    aspect = max(height / max(width, height) for width, height in scene.cameras.sizes_px[views].tolist())
    row_height = math.ceil(side * aspect)
    sheet = Image.new("RGB", (WIDTH, math.ceil(len(views) / COLUMNS) * row_height), PAPER)
    for place, i in enumerate(views):
        pixels = scene.images[i]
        if scene.coverage is not None:
            pixels = (pixels * (0.3 + 0.7 * scene.coverage[i][..., None] / 255.0)).astype(np.uint8)
        photo = Image.fromarray(pixels)
        shrink = (side - 6) / max(photo.size)
        photo = photo.resize((max(1, round(photo.width * shrink)), max(1, round(photo.height * shrink))))
        draw = ImageDraw.Draw(photo)
        projected, _ = scene.cameras.project(i, scene.cameras.K.new_tensor(_silhouette(scene, i)))
        outline = projected.numpy() * shrink
        for a, b in zip(outline, np.roll(outline, -1, axis=0)):
            if np.isfinite([*a, *b]).all() and np.abs([*a, *b]).max() < 1e5:
                draw.line([*a, *b], fill=BALL, width=2)
        draw.text((3, 2), scene.names[i][-28:], fill=TEST if i in scene.test_views else PAPER)
        sheet.paste(photo, ((place % COLUMNS) * side + 3, (place // COLUMNS) * row_height + 3))
    return sheet


def _silhouette(scene: Scene, i: int) -> Float64[np.ndarray, "n 3"]:
    """Points on the circle where lines of sight touch the ball; the great circle facing the camera from inside it."""
    eye = scene.cameras.centers[i].numpy()
    center, radius = scene.region.center, scene.region.radius
    towards = eye - center
    distance = max(float(np.linalg.norm(towards)), 1e-12)
    axis = towards / distance
    offset = radius**2 / distance if distance > radius else 0.0
    rim = math.sqrt(max(radius**2 - offset**2, 0.0))
    u = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    return center + offset * axis + rim * (np.cos(angle) * u + np.sin(angle) * v)


def _plots(scene: Scene) -> Image.Image:
    """From above (x, y) and from the side (x, z) in an upright frame round the ball."""
    side = WIDTH // 2
    R = upright_from(up_direction(scene.cameras).numpy())
    frusta, cameras = _frusta(scene)
    xyz = np.zeros((0, 3)) if scene.points is None else scene.points.xyz[:: max(1, len(scene.points.xyz) // 8000)]
    frusta, cameras, xyz = ((p - scene.region.center) @ R.T for p in (frusta, cameras, xyz))
    reach = 1.15 * max(1.2 * scene.region.radius, float(np.abs(cameras).max()))
    plots = Image.new("RGB", (WIDTH, side + 40), PAPER)
    for number, (title, axes) in enumerate((("from above", (0, 1)), ("from the side", (0, 2)))):
        plot = Image.new("RGB", (side, side), PAPER)
        draw = ImageDraw.Draw(plot)

        def at(points: np.ndarray, axes: tuple[int, int] = axes) -> np.ndarray:
            return np.stack([points[..., axes[0]], -points[..., axes[1]]], -1) / reach * (side / 2) + side / 2

        draw.point([tuple(p) for p in at(xyz).tolist()], fill=POINT)
        r = scene.region.radius / reach * side / 2
        draw.ellipse([side / 2 - r, side / 2 - r, side / 2 + r, side / 2 + r], outline=BALL, width=3)
        for i, (corners, eye) in enumerate(zip(at(frusta).tolist(), at(cameras).tolist())):
            color = TEST if i in scene.test_views else TRAIN
            for a, b in zip(corners, corners[1:] + corners[:1]):
                draw.line([*a, *b], fill=color)
                draw.line([*eye, *a], fill=color)
        draw.text((8, 6), title, fill=INK)
        draw.rectangle([0, 0, side - 1, side - 1], outline=POINT)
        plots.paste(plot, (number * side, 0))
    draw = ImageDraw.Draw(plots)
    ball = scene.region
    center = ", ".join(f"{value:.3g}" for value in ball.center)
    draw.text(
        (8, side + 6), f"{len(scene)} photos; ball at ({center}), radius {ball.radius:.3g}: {ball.reason}", fill=INK
    )
    draw.text((8, side + 22), "blue: training views, orange: held out, red: region of interest", fill=INK)
    return plots


def _frusta(scene: Scene) -> tuple[Float64[np.ndarray, "n 4 3"], Float64[np.ndarray, "n 3"]]:
    """The corners of each picture at a small depth, and the camera centres, in the world."""
    cameras = scene.cameras
    centers = cameras.centers.numpy()
    depth = 0.12 * float(np.median(np.linalg.norm(centers - scene.region.center, axis=1)))
    K, sizes, pose = cameras.K.numpy(), cameras.sizes_px.numpy(), cameras.world_from_cam.numpy()
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
    pixels = corners[None] * sizes[:, None, :]
    focal, middle = np.stack([K[:, 0, 0], K[:, 1, 1]], 1), K[:, :2, 2]
    in_cam = np.concatenate([(pixels - middle[:, None]) / focal[:, None], np.ones((len(K), 4, 1))], axis=-1) * depth
    return np.einsum("nij,nkj->nki", pose[:, :3, :3], in_cam) + centers[:, None], centers
