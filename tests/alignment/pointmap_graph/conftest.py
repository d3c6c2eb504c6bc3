"""A small scene seen by cameras on an arc, and what an ideal network would say of its pairs; golden references."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from rilievo.alignment.pointmap_graph.graph import PointmapGraph
from rilievo.geometry import se3, so3
from rilievo.matching.pair_result import PairPrediction


@dataclass(frozen=True)
class Scene:
    """Exact pointmaps of a bumpy wall."""

    world_from_cam: torch.Tensor
    focals_px: torch.Tensor
    points: list[torch.Tensor]
    """World points of every pixel."""
    edges: list[tuple[int, int]]

    def predictions(self, confidence: float = 5.0, seed: int = 0) -> list[PairPrediction]:
        """Exact but for a unit of every pair's own."""
        units = 0.7 + 0.6 * torch.rand(len(self.edges), generator=torch.Generator().manual_seed(seed))
        return [self.predict(i, j, float(unit), confidence) for (i, j), unit in zip(self.edges, units)]

    def predict(self, i: int, j: int, unit: float, confidence: float) -> PairPrediction:
        cam = se3.inverse(self.world_from_cam[i])
        X = [((self.points[v] @ cam[:3, :3].mT + cam[:3, 3]) * unit).float() for v in (i, j)]
        C = [torch.full(x.shape[:2], confidence) for x in X]
        return PairPrediction(X[0], C[0], X[1], C[1])


def make_scene(sizes_hw: list[tuple[int, int]], focals_px: list[float]) -> Scene:
    poses, points = [], []
    n = len(sizes_hw)
    for v, ((h, w), f) in enumerate(zip(sizes_hw, focals_px)):
        angle = 0.35 * (v - (n - 1) / 2)
        R = so3.exp(torch.tensor([0.05 * v, angle, 0.03], dtype=torch.float64))
        center = torch.tensor([-3 * np.sin(angle), 0.2 * v, -3 * np.cos(angle)], dtype=torch.float64)
        poses.append(se3.compose(R, center))
        y, x = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
        depth = 3 + 0.4 * torch.sin(9 * x / w + v) * torch.cos(7 * y / h)
        in_cam = torch.stack(((x - w / 2) / f, (y - h / 2) / f, torch.ones_like(x)), -1) * depth[..., None]
        points.append(in_cam @ R.mT + center)
    edges = [(i, j) for i in range(n) for j in range(n) if i != j]
    return Scene(torch.stack(poses), torch.tensor(focals_px), points, edges)


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Three landscape photos and a smaller portrait one, four focal lengths."""
    return make_scene([(18, 24), (18, 24), (20, 15), (18, 24)], [26.0, 30.0, 22.0, 24.0])


@pytest.fixture(scope="session")
def mast3r(shared: Path) -> Path:
    return shared / "golden" / "mast3r"


def predictions_of(stored: dict[str, np.ndarray], edges: list[tuple[int, int]]) -> list[PairPrediction]:
    names = ("X_i", "C_i", "X_j", "C_j")
    return [PairPrediction(*(torch.from_numpy(stored[f"pred/{i}_{j}/{name}"]) for name in names)) for i, j in edges]


@dataclass(frozen=True)
class Oracle:
    """A golden scene: what the published aligner was given, and the truth."""

    stored: dict[str, np.ndarray]
    edges: list[tuple[int, int]]

    @property
    def predictions(self) -> list[PairPrediction]:
        return predictions_of(self.stored, self.edges)

    @property
    def graph(self) -> PointmapGraph:
        return PointmapGraph.of(self.edges, self.predictions)

    @property
    def world_from_cam(self) -> torch.Tensor:
        return torch.from_numpy(self.stored["gt/cam2w"]).double()

    @property
    def focals_px(self) -> torch.Tensor:
        return torch.from_numpy(self.stored["gt/K"])[:, 0, 0].double()

    @property
    def masks(self) -> list[torch.Tensor]:
        return [torch.from_numpy(self.stored[f"gt/mask_{v}"]).bool() for v in range(len(self.world_from_cam))]


@pytest.fixture(scope="session")
def oracle(mast3r: Path) -> Callable[..., Oracle]:
    found: dict[str, dict[str, np.ndarray]] = {}

    def load(scene: str, edges: np.ndarray | None = None) -> Oracle:
        if scene not in found:
            with np.load(mast3r / f"sparse_ga_{scene}.npz") as file:
                found[scene] = {k: file[k] for k in file.files if k.startswith(("gt/", "pred/", "pairs"))}
        pairs = found[scene]["pairs"] if edges is None else edges
        return Oracle(found[scene], [(int(i), int(j)) for i, j in pairs])

    return load
