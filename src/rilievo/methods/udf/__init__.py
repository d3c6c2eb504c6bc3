"""Open surfaces: an unsigned distance field rendered as a volume (NeuralUDF, Long et al. 2023, arXiv:2211.14173)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rilievo.engine.method import Artifact, Method

from .config import PRESETS, UdfConfig

if TYPE_CHECKING:
    from rilievo.data.scene import Scene
    from rilievo.engine.workspace import Workspace

    from .model import UdfModel


def run(config: UdfConfig, workspace: Workspace) -> None:
    from rilievo.engine.fit import fit  # torch wakes up here, not for --help

    from .model import asks_gaussians
    from .module import UdfModule
    from .testimony import coupled_gaussians

    scene = workspace.scene.normalised()
    coupling = coupled_gaussians(config, scene, workspace) if asks_gaussians(config, scene) else None
    fit(UdfModule(config, scene, coupling), scene, config.fit, workspace)


def load(config: UdfConfig, scene: Scene, checkpoint: Path) -> UdfModel:
    from rilievo.engine.checkpoint import load_model

    from .model import UdfModel

    return load_model(UdfModel(config, scene), checkpoint)


METHOD = Method(
    name="udf",
    summary="Open surfaces (cloth, leaves, bowls) from posed photos, as an unsigned distance.",
    needs=frozenset({Artifact.SCENE}),
    gives=frozenset({Artifact.MESH, Artifact.RADIANCE}),
    presets=PRESETS,
    run=run,
    load=load,
)
