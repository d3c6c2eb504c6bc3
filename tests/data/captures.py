"""A tiny made-up capture, for tests: a coloured ball seen by a ring of cameras, and the layouts that hold it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rilievo.cameras.camera import Cameras
from rilievo.cameras.orientation import look_at
from rilievo.data.scene import MaskMeaning, PointCloud, Region, Scene

BALL = np.array([0.3, -0.2, 0.1])
RADIUS = 0.5


def ring_cameras(n: int, width: int, height: int, target: np.ndarray = BALL, distance: float = 3.0) -> Cameras:
    """Cameras on a tilted ring that look at `target`, pinhole, principal point in the middle."""
    angle = torch.linspace(0, 2 * torch.pi, n + 1, dtype=torch.float64)[:-1]
    eyes = torch.stack([angle.cos(), angle.sin(), 0.5 + 0.3 * (3 * angle).sin()], -1) * distance
    eyes = eyes + torch.from_numpy(target)
    K = torch.tensor([[1.2 * width, 0, width / 2], [0, 1.2 * width, height / 2], [0, 0, 1]], dtype=torch.float64)
    pose = look_at(eyes, torch.from_numpy(target), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    return Cameras.pinhole(pose, K.repeat(n, 1, 1), torch.tensor([[width, height]]).repeat(n, 1))


def ball_coverage(cameras: Cameras, i: int, center: np.ndarray = BALL, radius: float = RADIUS) -> np.ndarray:
    """255 where the ray through the pixel's centre meets the ball."""
    width, height = cameras.sizes_px[i].tolist()
    rays = cameras.view_rays(i, torch.float64)
    offset = torch.from_numpy(center) - rays.origins
    along = (offset * rays.directions).sum(-1)
    hit = (offset.square().sum(-1) - along**2 < radius**2) & (along > 0)
    return (hit.reshape(height, width).numpy() * 255).astype(np.uint8)


def ball_scene(
    n: int = 12, width: int = 48, height: int = 40, meaning: MaskMeaning | None = MaskMeaning.OBJECT, seed: int = 0
) -> Scene:
    """The capture in memory: noise as photos, exact masks, a few scene points."""
    rng = np.random.default_rng(seed)
    cameras = ring_cameras(n, width, height)
    images = tuple(rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(n))
    points = rng.normal(size=(50, 3))
    points = BALL + RADIUS * points / np.linalg.norm(points, axis=1, keepdims=True)
    return Scene(
        name="ball",
        cameras=cameras,
        names=tuple(f"images/{i:03d}.png" for i in range(n)),
        images=images,
        coverage=None if meaning is None else tuple(ball_coverage(cameras, i) for i in range(n)),
        mask_meaning=meaning,
        test_views=tuple(range(0, n, 8)),
        region=Region(BALL, 0.6, "known"),
        points=PointCloud(points, rng.integers(0, 256, (50, 3), dtype=np.uint8)),
    )


def same_rays(a: Cameras, b: Cameras, atol: float = 1e-6) -> bool:
    """Whether two batches of cameras send the same ray through every pixel."""
    for i in range(len(a)):
        one, other = a.view_rays(i, torch.float64), b.view_rays(i, torch.float64)
        if one.origins.shape != other.origins.shape:
            return False
        if not torch.allclose(one.origins, other.origins, rtol=0, atol=atol):
            return False
        if not torch.allclose(one.directions, other.directions, rtol=0, atol=atol):
            return False
    return len(a) == len(b)


def sorted_by_name(scene: Scene) -> Scene:
    """The same photos, ordered by bare file name."""
    return scene.subset(sorted(range(len(scene)), key=lambda i: Path(scene.names[i]).stem))


def edit(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "transforms.json") -> None:
    """Change what a JSON file of the capture says."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
