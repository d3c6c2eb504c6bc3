"""What Gaussians as a second witness bring to an open surface: Chamfer distance with and without them at equal time.

python benchmarks/udf_coupling.py SCENE [--seeds 3] [--share 0.25] [--resolution 128] [--threads 1]

SCENE holds photographs, `points.npz` and `mesh.ply`. For every seed the default preset of `udf` is squeezed to `share`
of its course and trained with Gaussians; without them the course is stretched until it takes the same processor time,
as a short run of it has shown what a step costs. Lengths are in % of the radius of the true surface, area is that of
the mesh over the true one's.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import torch

from rilievo.data.load import load_scene
from rilievo.data.scene import Scene
from rilievo.engine.workspace import Record, SceneSource, Workspace
from rilievo.geometry.mesh import TriMesh
from rilievo.methods.udf import METHOD
from rilievo.methods.udf.config import PRESETS, UdfConfig
from rilievo.metrics.mesh import compare_meshes
from rilievo.metrics.reference import read_reference
from rilievo.stretch import stretched

TRIAL_STEPS = 60
"""Of the short run in which kernels are compiled; two others, of as many steps and three times as many, are timed."""


def course(use: str, share: float, seed: int) -> UdfConfig:
    """The default preset in `share` of its steps."""
    fast = PRESETS["fast"]
    config = stretched(fast, share)
    steps = max(1, round(fast.fit.steps * share))
    fit = dataclasses.replace(config.fit, steps=steps, seed=seed, device="cpu", preview_every=10**9)
    return dataclasses.replace(config, fit=fit, gaussians=dataclasses.replace(config.gaussians, use=use))


def trained(config: UdfConfig, scene: Path, resolution: int) -> tuple[float, TriMesh]:
    """Processor seconds of a run, and its mesh in the capture's frame."""
    with tempfile.TemporaryDirectory() as folder:
        record = Record("udf", "fast", SceneSource(str(scene)))
        workspace = Workspace.create(Path(folder) / "run", record, config)
        begun = time.process_time()
        METHOD.run(config, workspace)
        spent = time.process_time() - begun
        normalised: Scene = load_scene(scene).normalised()
        checkpoint = workspace.latest_checkpoint()
        assert checkpoint is not None
        mesh = METHOD.load(config, normalised, checkpoint).extract_mesh(resolution)
        return spent, mesh.transformed(normalised.capture_from_world.numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    truth = read_reference(asked.scene / "points.npz")
    per_step = _seconds_per_step(asked.scene)
    print(f"share {asked.share} of the course, {asked.threads} threads, mesh at {asked.resolution}")
    print(f"{'seed':<6}{'Gaussians':<11}{'steps':>6}{'cpu s':>7}{'Chamfer %':>11}{'area':>7}")
    for seed in range(asked.seeds):
        config, budget = course("on", asked.share, seed), 0.0
        for use in ("on", "off"):
            if use == "off":
                config = course("off", budget / per_step / PRESETS["fast"].fit.steps, seed)
            spent, mesh = trained(config, asked.scene, asked.resolution)
            budget = budget or spent
            found = compare_meshes(mesh, truth)
            row = f"{seed:<6}{use:<11}{config.fit.steps:>6}{spent:>7.0f}{found.chamfer_percent:>11.3f}"
            print(f"{row}{found.area_ratio:>7.2f}", flush=True)


def _seconds_per_step(scene: Path) -> float:
    """Of a run without Gaussians."""
    spent = []
    for steps in (TRIAL_STEPS, TRIAL_STEPS, 3 * TRIAL_STEPS):
        config = course("off", 1.0, 0)
        config = dataclasses.replace(config, fit=dataclasses.replace(config.fit, steps=steps))
        spent.append(trained(config, scene, 16)[0])
    return (spent[2] - spent[1]) / (2 * TRIAL_STEPS)


if __name__ == "__main__":
    main()
