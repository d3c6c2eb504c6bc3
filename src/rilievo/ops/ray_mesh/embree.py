"""Embree's tree of a mesh and its two questions (Wald et al. 2014), through the embreex package.

Embree works in single precision on what it is given, so the mesh is moved and scaled into the cube [-1, 1]³ first, and
the rays with it; t does not change under that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rilievo.errors import clear

FAR = 1e30
"""Farther than anything: Embree's t is finite."""


@dataclass(frozen=True)
class Scene:
    """A tree, and the move into its cube."""

    tree: Any
    mesh: Any
    """Owns the vertices that the tree looks at."""
    center: Tensor
    scale: float


def build(vertices: Tensor, faces: Tensor) -> Scene:
    """Raises `UserError` where embreex is not installed."""
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise clear(
            "tracing rays on the processor",
            expected="Embree, through the package embreex",
            got="no module embreex",
            do="pip install embreex",
        ) from error
    corners = vertices.double().cpu()
    used = corners[faces.cpu().flatten()]
    low, high = used.amin(0), used.amax(0)
    center, scale = (low + high) / 2, 2 / max(float((high - low).max()), 1e-30)
    tree = EmbreeScene()
    mesh = TriangleMesh(
        tree,
        ((corners - center) * scale).float().contiguous().numpy(),
        np.ascontiguousarray(faces.cpu().numpy(), dtype=np.int32),
    )
    return Scene(tree, mesh, center, scale)


def first_face(scene: Scene, origins: Tensor, directions: Tensor, t_max: Tensor | float) -> Tensor:
    """Index of the first face [n], -1 for a miss."""
    return _ask(scene, origins, directions, t_max, "INTERSECT")


def any_face(scene: Scene, origins: Tensor, directions: Tensor, t_max: Tensor | float) -> Tensor:
    """Whether there is any [n]."""
    return _ask(scene, origins, directions, t_max, "OCCLUDED") >= 0


def _ask(scene: Scene, origins: Tensor, directions: Tensor, t_max: Tensor | float, question: str) -> Tensor:
    moved = ((origins.double().cpu() - scene.center) * scene.scale).float().contiguous().numpy()
    heading = (directions.double().cpu() * scene.scale).float().contiguous().numpy()
    limit = torch.as_tensor(t_max, dtype=torch.float32).cpu().clamp(max=FAR).expand(len(moved)).clone().numpy()
    answer = scene.tree.run(moved, heading, limit, question) if len(moved) else np.zeros(0, np.int32)
    return torch.from_numpy(np.asarray(answer).astype(np.int64))
