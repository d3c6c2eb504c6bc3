"""Predictors that know the truth: of the golden scenes, and of a round room of any number of photos.

What the published networks would say is made from exact geometry: pointmaps in a unit of each pair's own, and
descriptors that are random Fourier features of the points (Rahimi & Recht 2007), whose nearest neighbours are those of
the points themselves. Where one photo does not see what another does, confidences say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rilievo.geometry import se3, sim3, so3
from rilievo.matching.pair_result import Descriptors, PairPrediction
from rilievo.pointmaps.photo import prepare_file

ENLARGED = 3
"""How much larger than the network's pictures the photos are."""
FEATURES, REACH = 32, 0.4


@dataclass
class World:
    """Views of one size: what a network of `long_px` sees of photos `ENLARGED` times as large."""

    images: list[np.ndarray]
    world_from_cam: torch.Tensor
    K: torch.Tensor
    """Of a network's picture, pixel centres counted from 0."""
    depth: list[torch.Tensor]
    named: list[torch.Tensor]
    """A place for every pixel, the same for the same thing."""
    masks: list[torch.Tensor] | None = None
    said: dict | None = None
    """Stored predictions by pair, where there are any."""

    @property
    def long_px(self) -> int:
        return max(self.depth[0].shape)

    @property
    def photo_K(self) -> torch.Tensor:
        """Of the photos, pixel centres at +0.5."""
        K = self.K.double().clone()
        K[:2, 2] += 0.5
        K[:2] *= ENLARGED
        return K

    def write(self, folder: Path, masks: Path | None = None) -> Path:
        """The photos as files 000.png, 001.png, …, and their masks."""
        size = tuple(ENLARGED * side for side in self.depth[0].shape[::-1])
        for path in (folder, masks):
            if path is not None:
                path.mkdir(parents=True, exist_ok=True)
        for v, image in enumerate(self.images):
            Image.fromarray(image).resize(size, Image.Resampling.NEAREST).save(folder / f"{v:03d}.png")
            if masks is not None:
                mask = Image.fromarray(self.masks[v].numpy())
                mask.convert("L").resize(size, Image.Resampling.NEAREST).save(masks / f"{v:03d}.png")
        return folder

    def in_cam(self, v: int) -> torch.Tensor:
        h, w = self.depth[v].shape
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        pixels = torch.stack((x, y, torch.ones_like(x)), -1).to(self.K)
        return pixels @ torch.linalg.inv(self.K).mT * self.depth[v][..., None]

    def seen(self, i: int, j: int) -> torch.Tensor:
        """Which pixels of photo i photo j sees too."""
        X = sim3.apply(se3.inverse(self.world_from_cam[j]) @ self.world_from_cam[i], self.in_cam(i))
        h, w = self.depth[j].shape
        at = (X @ self.K.mT)[..., :2] / X[..., 2:].clamp_min(1e-6)
        column, row = at.round().unbind(-1)
        inside = (X[..., 2] > 0) & (column >= 0) & (column < w) & (row >= 0) & (row < h)
        there = self.depth[j][torch.where(inside, row, 0).long(), torch.where(inside, column, 0).long()]
        return inside & ((there / X[..., 2] - 1).abs() < 0.1)

    def predict(self, i: int, j: int) -> PairPrediction:
        both = self.seen(i, j), self.seen(j, i)
        if self.said is not None:
            stored = self.said[i, j]
            sure = [torch.full_like(C, 10.0) for C in (stored.C_1, stored.C_2)]
            return PairPrediction(
                stored.X_1, stored.C_1, stored.X_2, stored.C_2, self.described(i, sure[0]), self.described(j, sure[1])
            )
        unit = 0.8 + 0.4 * torch.rand(1, generator=torch.Generator().manual_seed(1000 * i + j)).item()
        there = se3.inverse(self.world_from_cam[i]) @ self.world_from_cam[j]
        X = self.in_cam(i).float() * unit, sim3.apply(there, self.in_cam(j)).float() * unit
        sure = [torch.where(part, 10.0, 0.5) for part in both]
        return PairPrediction(
            X[0], torch.full_like(sure[0], 8.0), X[1], torch.where(both[1], 8.0, 1.0),
            self.described(i, sure[0]), self.described(j, sure[1]),
        )  # fmt: skip

    def described(self, v: int, Q: torch.Tensor) -> Descriptors:
        generator = torch.Generator().manual_seed(7)
        W = torch.randn(3, FEATURES // 2, generator=generator) / REACH
        phase = self.named[v].float() @ W
        return Descriptors(torch.cat((phase.cos(), phase.sin()), -1) / (FEATURES / 2) ** 0.5, Q)


class OraclePredictor:
    """A `PhotoPredictor` that knows a world; it recognises its photos by their file names."""

    def __init__(self, world: World, descriptors: bool = True) -> None:
        self.world, self.has_descriptors = world, descriptors
        self.view: dict[bytes, int] = {}
        self.asked: list[tuple[int, int]] = []

    @property
    def key(self) -> str:
        return f"oracle-{self.has_descriptors}"

    def prepare(self, path: Path):
        picture = prepare_file(path, self.world.long_px)
        self.view[picture.pixels.tobytes()] = int(path.stem)
        return picture

    def predict(self, photos, pairs):
        for i, j in pairs:
            self.asked.append((i, j))
            said = self.world.predict(*(self.view[photos[k].pixels.tobytes()] for k in (i, j)))
            if not self.has_descriptors:
                said = PairPrediction(said.X_1, said.C_1, said.X_2, said.C_2)
            yield (i, j), said


def golden_world(path: Path) -> World:
    """A golden scene; where the object turns, the background's places are those before the camera, which stands."""
    with np.load(path) as file:
        stored = {
            name: torch.from_numpy(file[name]) for name in file.files if name.startswith(("gt/", "pred/", "img/"))
        }
        pairs = [(int(i), int(j)) for i, j in file["pairs"]]
    n = len(stored["gt/cam2w"])
    parts = ("X_i", "C_i", "X_j", "C_j")
    said = {(i, j): PairPrediction(*(stored[f"pred/{i}_{j}/{part}"] for part in parts)) for i, j in pairs}
    world = World(
        [stored[f"img/{v}"].numpy() for v in range(n)],
        stored["gt/cam2w"].double(),
        stored["gt/K"][0].double(),
        [stored[f"gt/depth_{v}"].double() for v in range(n)],
        [],
        [stored[f"gt/mask_{v}"] > 0 for v in range(n)],
        said,
    )
    for v in range(n):
        X = world.in_cam(v)
        named = sim3.apply(world.world_from_cam[v], X)
        if "turntable" in path.name:
            named = torch.where(world.masks[v][..., None], named, X + 50)
        world.named.append(named)
    return world


def round_room(n: int, size_hw: tuple[int, int] = (48, 64), seed: int = 0, turn: float = 2 * np.pi) -> World:
    """Cameras that walk around a painted ball in a painted round room, over `turn` radians."""
    h, w = size_hw
    f = 0.9 * w
    K = torch.tensor([[f, 0, w / 2], [0, f, h / 2], [0, 0, 1]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    world = World([], torch.zeros(n, 4, 4, dtype=torch.float64), K, [], [])
    y, x = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
    flat = torch.stack(((x - w / 2) / f, (y - h / 2) / f, torch.ones_like(x)), -1)
    for v in range(n):
        around = turn * v / n
        tilt = torch.tensor([0.1 * np.sin(5 * around), 0.0, 0.1 * np.cos(3 * around)], dtype=torch.float64)
        R = so3.exp(torch.tensor([0.0, around, 0.0], dtype=torch.float64)) @ so3.exp(tilt)
        center = 3 * torch.tensor([-np.sin(around), 0.1 * np.sin(5 * around), -np.cos(around)], dtype=torch.float64)
        directions = flat @ R.mT
        depth = room_depth(center, directions)
        points = center + depth[..., None] * directions
        world.world_from_cam[v] = se3.compose(R, center)
        world.depth.append(depth)
        world.named.append(points)
        paint = 0.5 + 0.25 * (points @ waves).sin() + 0.25 * (3 * points @ waves.mT).sin()
        world.images.append((255 * paint).round().to(torch.uint8).numpy())
    return world


def room_depth(center: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """How far along directions of any length the ball of radius 1 is, or else the wall of radius 4."""
    ball, wall = _until_sphere(center, directions, 1.0, -1), _until_sphere(center, directions, 4.0, 1)
    return torch.where(ball.isnan(), wall, ball)


def _until_sphere(center: torch.Tensor, directions: torch.Tensor, radius: float, side: int) -> torch.Tensor:
    """How far to the near (-1) or far (1) side of a sphere about the origin; NaN where the ray misses it."""
    a, b = (directions * directions).sum(-1), (directions * center).sum(-1)
    return (-b + side * (b * b - a * ((center * center).sum() - radius**2)).sqrt()) / a
