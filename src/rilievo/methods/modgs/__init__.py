"""MoDGS: a moving world from one camera, as Gaussians in a canonical space and an invertible motion (Liu et al. 2024,
arXiv:2406.00434).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rilievo.engine.method import Artifact, Method

from .config import PRESETS, ModgsConfig

if TYPE_CHECKING:
    from rilievo.data.scene import Scene
    from rilievo.engine.workspace import Workspace

    from .model import ModgsModel


def run(config: ModgsConfig, workspace: Workspace) -> None:
    from rilievo.engine.fit import fit  # torch wakes up here, not for --help

    from .module import ModgsModule
    from .stage1 import first_stage

    scene = workspace.scene.normalised()
    motion, start = first_stage(config, scene, workspace.folder)
    fit(ModgsModule(config, scene, motion, start), scene, config.fit, workspace)


def load(config: ModgsConfig, scene: Scene, checkpoint: Path) -> ModgsModel:
    from rilievo.engine.checkpoint import load_model

    from .model import ModgsModel
    from .stage1 import build_motion

    return load_model(ModgsModel(config, scene, build_motion(config.motion, config.fit.seed)), checkpoint)


METHOD = Method(
    name="modgs",
    summary="A moving world from the video of one camera and monocular depth, to be seen at any time.",
    needs=frozenset({Artifact.SCENE}),
    gives=frozenset({Artifact.RADIANCE, Artifact.MOTION}),
    presets=PRESETS,
    run=run,
    load=load,
)
