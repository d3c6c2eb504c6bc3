"""Gaussians from the command line: files that a run leaves, either strategy, and clouds that no camera sees."""

import csv
import shutil

import numpy as np
import pytest
import torch

from rilievo.cli import main
from rilievo.data.load import load_scene
from rilievo.engine.run import open_run
from rilievo.gaussians.compact import read_compact
from rilievo.gaussians.ply import read_gaussians
from rilievo.io.ply import write_points


def test_the_compact_file_holds_the_cloud_of_the_ply(fit, capture):
    folder = fit("splat", capture, "--steps", "3", "--compact").workspace.folder
    exact, rounded = read_gaussians(folder / "gaussians.ply"), read_compact(folder / "gaussians.npz")
    assert len(exact) == len(rounded)
    assert rounded.sh_degree == exact.sh_degree
    reach = exact.means.norm(dim=1).max()
    apart = torch.cdist(exact.means, rounded.means).amin(1)
    assert apart.max() < 1e-3 * reach
    assert (folder / "gaussians.npz").stat().st_size < 0.5 * (folder / "gaussians.ply").stat().st_size


@pytest.mark.parametrize("strategy", ["relocate", "densify"])
def test_either_strategy_is_a_flag_away(strategy, fit, capture):
    part = "relocation" if strategy == "relocate" else "densify"
    flags = ["--strategy", strategy, f"--{part}.start", "2", f"--{part}.every", "4", f"--{part}.max-gaussians", "1500"]
    if strategy == "densify":
        flags += ["--densify.grad-threshold", "1e-6"]
    folder = fit("splat", capture, "--steps", "12", "--fit.log-every", "4", *flags).workspace.folder
    with (folder / "log" / "metrics.csv").open() as file:
        counts = [float(row["train/gaussians"]) for row in csv.DictReader(file)]
    assert 800 < counts[-1] <= 1500


def test_gaussians_that_no_camera_sees_are_no_mistake(capture, tmp_path):
    """The capture's points lie beside all of its pictures: those stay empty, and training goes through."""
    folder = shutil.copytree(capture, tmp_path / "beside")
    cameras = load_scene(capture).cameras
    rng = np.random.default_rng(0)
    ends = 300 * rng.normal(size=(200, 3))
    points = (ends[:, None] + 0.01 * rng.normal(size=(200, 20, 3))).reshape(-1, 3)
    unseen = np.ones(len(points), dtype=bool)
    for view in range(len(cameras)):
        pixels, depth = cameras.project(view, torch.from_numpy(points))
        near = (pixels > -20).all(-1) & (pixels < cameras.sizes_px[view] + 20).all(-1) & (depth > 0)
        unseen &= ~near.numpy()
    assert unseen.sum() >= 100
    write_points(folder / "points.ply", points[unseen].astype(np.float32))
    command = ["fit", "splat", str(folder), "-o", str(tmp_path / "run"), "--preset", "smoke", "--steps", "4"]
    assert main([*command, "--region", "0", "0", "0", "1", "--start.points", "scene"]) == 0
    run = open_run(tmp_path / "run", device="cpu")
    assert (run.model.render(run.scene.cameras, 0).rgb == 1).all()
