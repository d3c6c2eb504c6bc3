"""NeuS: a signed distance field rendered as a volume (Wang et al. 2021, arXiv:2106.10689), on a hash grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rilievo.engine.method import Artifact, Method

from .config import PRESETS, NeusConfig

if TYPE_CHECKING:
    from rilievo.data.scene import Scene
    from rilievo.engine.workspace import Workspace

    from .model import NeusModel


def run(config: NeusConfig, workspace: Workspace) -> None:
    from rilievo.engine.fit import fit  # torch wakes up here, not for --help

    from .module import NeusModule

    scene = workspace.scene.normalised()
    fit(NeusModule(config, scene), scene, config.fit, workspace)


def load(config: NeusConfig, scene: Scene, checkpoint: Path) -> NeusModel:
    from rilievo.engine.checkpoint import load_model

    from .model import NeusModel

    return load_model(NeusModel(config, scene), checkpoint)


METHOD = Method(
    name="neus",
    summary="Surface from posed photos, as a signed distance.",
    needs=frozenset({Artifact.SCENE}),
    gives=frozenset({Artifact.MESH, Artifact.RADIANCE}),
    presets=PRESETS,
    run=run,
    load=load,
)
