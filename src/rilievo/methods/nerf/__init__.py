"""NeRF: radiance through a volume (Mildenhall et al. 2020, arXiv:2003.08934), on a hash grid (instant-ngp)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rilievo.engine.method import Artifact, Method

from .config import PRESETS, NerfConfig

if TYPE_CHECKING:
    from rilievo.data.scene import Scene
    from rilievo.engine.workspace import Workspace

    from .model import NerfModel


def run(config: NerfConfig, workspace: Workspace) -> None:
    from rilievo.engine.fit import fit  # torch wakes up here, not for --help

    from .module import NerfModule

    scene = workspace.scene.normalised()
    fit(NerfModule(config, scene), scene, config.fit, workspace)


def load(config: NerfConfig, scene: Scene, checkpoint: Path) -> NerfModel:
    from rilievo.engine.checkpoint import load_model

    from .model import NerfModel

    return load_model(NerfModel(config, scene), checkpoint)


METHOD = Method(
    name="nerf",
    summary="New views from posed photos, as a glowing volume.",
    needs=frozenset({Artifact.SCENE}),
    gives=frozenset({Artifact.RADIANCE, Artifact.MESH}),
    presets=PRESETS,
    run=run,
    load=load,
)
