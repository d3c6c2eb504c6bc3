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


def check(config: NeroMaterialConfig, scene: Scene) -> None:
    from .given import check_named, given_mesh

    check_named(config.mesh)
    if config.mesh.is_file():
        given_mesh(config.mesh, config.mesh_resolution, scene.normalised())


def run(config: NeroMaterialConfig, workspace: Workspace) -> None:
    from rilievo.engine.fit import fit  # torch wakes up here, not for --help
    from rilievo.io.mesh_file import write_mesh

    from .export import write_materials
    from .given import given_mesh, told_of_gaps
    from .model import NeroMaterialModel
    from .module import NeroMaterialModule
    from .published import PublishedModel, PublishedModule
    from .surface import KnownSurface

    scene = workspace.scene.normalised()
    kept = workspace.folder / SURFACE
    if not kept.is_file():
        mesh = given_mesh(config.mesh, config.mesh_resolution, scene)
        if gaps := told_of_gaps(mesh):
            print(gaps)
        write_mesh(kept, mesh)
    published = config.networks == "published"
    build, train = (PublishedModel, PublishedModule) if published else (NeroMaterialModel, NeroMaterialModule)
    model = build(config, KnownSurface(_surface(kept, scene)))
    fit(train(model, scene, config), scene, config.fit, workspace)
    write_materials(workspace.folder, model, scene)


def load(config: NeroMaterialConfig, scene: Scene, checkpoint: Path) -> NeroMaterialModel:
    from rilievo.engine.checkpoint import load_model

    from .model import NeroMaterialModel
    from .published import PublishedModel
    from .surface import KnownSurface

    surface = KnownSurface(_surface(checkpoint.parents[1] / SURFACE, scene))
    build = PublishedModel if config.networks == "published" else NeroMaterialModel
    return load_model(build(config, surface), checkpoint)


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
    check=check,
    run=run,
    load=load,
)
