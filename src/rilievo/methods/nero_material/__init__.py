"""What a glossy object is made of, on its known surface (NeRO, Liu et al. 2023, arXiv:2305.17398, second stage)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rilievo.engine.method import Artifact, Method

from .config import PRESETS, NeroMaterialConfig

if TYPE_CHECKING:
    from rilievo.data.scene import Scene
    from rilievo.engine.workspace import Workspace
    from rilievo.geometry.mesh import TriMesh

    from .model import NeroMaterialModel

SURFACE = "surface.ply"
"""The mesh in the run folder, in the capture's frame."""


def run(config: NeroMaterialConfig, workspace: Workspace) -> None:
    from rilievo.engine.fit import fit  # torch wakes up here, not for --help
    from rilievo.io.mesh_file import write_mesh

    from .export import write_materials
    from .given import given_mesh
    from .model import NeroMaterialModel
    from .module import NeroMaterialModule
    from .surface import KnownSurface

    scene = workspace.scene.normalised()
    kept = workspace.folder / SURFACE
    if not kept.is_file():
        write_mesh(kept, given_mesh(config.mesh, config.mesh_resolution, scene))
    model = NeroMaterialModel(config, KnownSurface(_surface(kept, scene)))
    fit(NeroMaterialModule(model, scene, config), scene, config.fit, workspace)
    write_materials(workspace.folder, model, scene)


def load(config: NeroMaterialConfig, scene: Scene, checkpoint: Path) -> NeroMaterialModel:
    from rilievo.engine.checkpoint import load_model

    from .model import NeroMaterialModel
    from .surface import KnownSurface

    surface = KnownSurface(_surface(checkpoint.parents[1] / SURFACE, scene))
    return load_model(NeroMaterialModel(config, surface), checkpoint)


def _surface(path: Path, scene: Scene) -> TriMesh:
    """The kept mesh, in the normalised world."""
    import numpy as np

    from rilievo.io.mesh_file import read_mesh

    return read_mesh(path).transformed(np.linalg.inv(scene.capture_from_world.numpy()))


METHOD = Method(
    name="nero-material",
    summary="Albedo, metallic and roughness on a known surface, and the light round it: --mesh MESH_OR_RUN.",
    needs=frozenset({Artifact.SCENE, Artifact.MESH}),
    gives=frozenset({Artifact.MESH, Artifact.RADIANCE}),
    presets=PRESETS,
    run=run,
    load=load,
)
