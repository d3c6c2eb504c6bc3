"""3D Gaussian splatting: a cloud that is drawn, not marched through (Kerbl et al. 2023, arXiv:2308.04079)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rilievo.engine.method import Artifact, Method

from .config import PRESETS, SplatConfig

if TYPE_CHECKING:
    from rilievo.data.scene import Scene
    from rilievo.engine.workspace import Workspace

    from .model import SplatModel


def run(config: SplatConfig, workspace: Workspace) -> None:
    from rilievo.engine.fit import fit  # torch wakes up here, not for --help
    from rilievo.gaussians.compact import write_compact
    from rilievo.gaussians.ply import write_gaussians

    from .module import SplatModule

    scene = workspace.scene.normalised()
    module = fit(SplatModule(config, scene), scene, config.fit, workspace)
    cloud = module.model.cloud_in(scene.capture_from_world)
    write_gaussians(workspace.folder / "gaussians.ply", cloud)
    if config.compact:
        write_compact(workspace.folder / "gaussians.npz", cloud)


def load(config: SplatConfig, scene: Scene, checkpoint: Path) -> SplatModel:
    from rilievo.engine.checkpoint import load_model
    from rilievo.gaussians.cloud import GaussianCloud

    from .model import SplatModel

    return load_model(SplatModel(config, GaussianCloud.empty(config.sh_degree)), checkpoint)


METHOD = Method(
    name="splat",
    summary="Radiance from posed photos, as a cloud of Gaussians that draws in milliseconds.",
    needs=frozenset({Artifact.SCENE}),
    gives=frozenset({Artifact.RADIANCE}),
    presets=PRESETS,
    run=run,
    load=load,
)
