"""The shape of a glossy object: a signed distance whose colours are reflected light (NeRO, Liu et al. 2023,
arXiv:2305.17398, first stage)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rilievo.engine.method import Artifact, Method

from .config import PRESETS, NeroShapeConfig

if TYPE_CHECKING:
    from rilievo.data.scene import Scene
    from rilievo.engine.workspace import Workspace

    from .model import NeroShapeModel
    from .published import PublishedModel


def run(config: NeroShapeConfig, workspace: Workspace) -> None:
    from rilievo.engine.fit import fit  # torch wakes up here, not for --help

    from .module import NeroShapeModule
    from .published import PublishedModule

    scene = workspace.scene.normalised()
    made = PublishedModule if config.networks == "published" else NeroShapeModule
    fit(made(config, scene), scene, config.fit, workspace)


def load(config: NeroShapeConfig, scene: Scene, checkpoint: Path) -> NeroShapeModel | PublishedModel:
    from rilievo.engine.checkpoint import load_model

    from .model import NeroShapeModel
    from .published import PublishedModel

    if config.networks == "published":
        return load_model(PublishedModel(config), checkpoint)
    return load_model(NeroShapeModel(config, scene), checkpoint)


METHOD = Method(
    name="nero-shape",
    summary="Surface of a glossy object from posed photos, as a signed distance that mirrors its surroundings.",
    needs=frozenset({Artifact.SCENE}),
    gives=frozenset({Artifact.MESH, Artifact.RADIANCE}),
    presets=PRESETS,
    run=run,
    load=load,
)
