"""Gaussians learn a tiny scene, in the frame of its capture, with either strategy, and resume where they stopped."""

import csv
import dataclasses

import numpy as np
import pytest
import torch

from rilievo.cli import main
from rilievo.cli.evaluate import image_metrics
from rilievo.data.load import load_scene
from rilievo.data.scene import PointCloud
from rilievo.engine import checkpoint, config_file
from rilievo.engine.fit import fit as train
from rilievo.engine.photo_points import agreed_points
from rilievo.engine.view_sampler import ViewSampler
from rilievo.engine.workspace import Workspace
from rilievo.errors import UserError
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.ply import read_gaussians
from rilievo.methods.splat.config import PRESETS, SplatConfig
from rilievo.methods.splat.model import SplatModel
from rilievo.methods.splat.module import SplatModule
from rilievo.methods.splat.start import first_cloud
from rilievo.stretch import stretched

SMOKE = PRESETS["smoke"]


def psnr(run) -> float:
    return image_metrics(run)["mean"]["psnr"]


@pytest.fixture(scope="module")
def learned(fit, capture):
    return fit("splat", capture)


def test_sixty_steps_gain_three_decibels_on_a_photograph_that_was_held_out(learned, fit, capture):
    assert psnr(learned) > psnr(fit("splat", capture, "--steps", "1")) + 3


def test_the_file_for_viewers_holds_the_run_in_the_frame_of_its_capture(learned, fit, capture, moved_capture):
    steps = ("--steps", "3")
    here, there = (
        read_gaussians(fit("splat", scene, *steps).workspace.folder / "gaussians.ply")
        for scene in (capture, moved_capture)
    )
    offset = torch.tensor([10.0, -4, 3])
    torch.testing.assert_close(there.means, here.means * 2.5 + offset, atol=1e-3, rtol=0)
    torch.testing.assert_close(there.log_scales, here.log_scales + np.log(2.5), atol=1e-3, rtol=0)


def test_a_rendering_is_white_where_nothing_is_and_has_depth_where_something_is(learned):
    seen = learned.model.render(learned.scene.cameras, 0)
    bare = seen.opacity < 1e-3
    assert bare.any()
    assert (seen.rgb[bare] > 0.99).all()
    solid = seen.opacity > 0.9
    distance = torch.linalg.vector_norm(learned.scene.cameras.centers[0]).item()
    assert solid.any()
    assert (seen.depth[solid] - distance).abs().max() < 1.5
    assert not seen.depth[bare].any()


def test_a_cloud_has_no_mesh_and_says_which_method_has(learned, capsys):
    with pytest.raises(UserError, match="fit neus for a mesh"):
        learned.model.extract_mesh(16)
    assert main(["mesh", str(learned.workspace.folder)]) == 2


@pytest.mark.parametrize("strategy", ["relocate", "densify"])
def test_a_resumed_run_has_the_state_of_an_unbroken_one(strategy, capture, tmp_path):
    flags = ["--fit.checkpoint-every", "7", "--exposure"]
    if strategy == "densify":
        values = {"start": 2, "every": 4, "reset-every": 12, "grad-threshold": 1e-6, "max-gaussians": 1000}
    else:
        values = {"start": 2, "every": 4}
    part = "densify" if strategy == "densify" else "relocation"
    flags += ["--strategy", strategy, *(word for k, v in values.items() for word in (f"--{part}.{k}", str(v)))]
    command = ["fit", "splat", str(capture), "--preset", "smoke"]
    assert main([*command, "-o", str(tmp_path / "a"), "--fit.steps", "17", *flags]) == 0
    assert main([*command, "-o", str(tmp_path / "b"), "--fit.steps", "17", *flags]) == 0
    (tmp_path / "b" / "checkpoints" / "step-17.ckpt").unlink()
    assert main([*command, "-o", str(tmp_path / "b"), "--fit.steps", "17", "--resume", *flags]) == 0
    one, other = (checkpoint.read(tmp_path / run / "checkpoints" / "step-17.ckpt") for run in "ab")
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(values, other["state_dict"][name]) for name, values in one["state_dict"].items())
    moments = [c["optimizer_states"][0]["state"] for c in (one, other)]
    assert all(torch.equal(moments[0][i][name], moments[1][i][name]) for i in moments[0] for name in moments[0][i])
    with (tmp_path / "a" / "log" / "metrics.csv").open() as file:
        counts = [float(row["train/gaussians"]) for row in csv.DictReader(file)]
    assert counts[-1] > counts[0]


def test_without_masks_the_world_behind_is_learned_too(fit, uncut_capture):
    run = fit("splat", uncut_capture, "--region", "0", "0", "-0.2", "1.6")
    assert run.model.render(run.scene.cameras, 0).opacity.mean() > 0.9
    assert psnr(run) > 17


def test_exposure_learns_which_photo_was_darkened(capture, tmp_path):
    scene = load_scene(capture).normalised()
    dark = scene.train_views[2]
    images = tuple((image * (0.5 if i == dark else 1)).astype(np.uint8) for i, image in enumerate(scene.images))
    config = dataclasses.replace(SMOKE, exposure=True, exposure_rate=2e-2)
    given = dataclasses.replace(scene, images=images)
    module = train(SplatModule(config, given), given, config.fit, Workspace(tmp_path))
    gain = module.exposure.affine.detach().sum(-1).mean(-1)
    assert gain[dark] < 0.97 * gain[[v for v in scene.train_views if v != dark]].min()
    assert torch.equal(module.exposure.affine[scene.test_views[0]], torch.eye(3, 4))


def test_a_cloud_of_nothing_is_a_white_picture_and_still_trains(capture):
    scene = load_scene(capture).normalised()
    model = SplatModel(SMOKE, GaussianCloud.empty(1))
    assert (model.render(scene.cameras, 0).rgb == 1).all()
    model(scene.cameras[0], torch.ones(3)).features.sum().backward()


def test_points_that_photos_agree_on_lie_on_the_object_more_often_than_by_chance(capture):
    scene = load_scene(capture).normalised()
    sampler = ViewSampler(scene, random_background=False, seed=0)

    def share_outside(depths):
        generator = torch.Generator().manual_seed(0)
        points = agreed_points(sampler, 400, depths=depths, far=30.0, generator=generator).xyz
        outside = torch.zeros(400, dtype=torch.bool)
        for view in scene.train_views:
            pixels, _ = scene.cameras.project(view, points)
            column, row = pixels.long().clamp(0, 39).unbind(-1)
            outside |= torch.tensor(scene.coverage[view])[row, column] == 0
        return outside.float().mean()

    assert share_outside(48) < 0.7 * share_outside(1)


def test_a_scenes_own_points_are_where_it_starts(capture):
    scene = load_scene(capture).normalised()
    xyz = np.random.default_rng(0).normal(size=(500, 3)) * 0.3
    xyz[7] = np.nan
    given = dataclasses.replace(scene, points=PointCloud(xyz, np.full((500, 3), 51, np.uint8)))
    sampler = ViewSampler(scene, random_background=False, seed=0)
    cloud = first_cloud(SMOKE, given, sampler)
    assert len(cloud) == 499
    assert torch.allclose(0.5 + cloud.sh_dc / np.sqrt(4 * np.pi), torch.tensor(0.2))
    config = dataclasses.replace(SMOKE, start=dataclasses.replace(SMOKE.start, points="scene"))
    with pytest.raises(UserError, match="at least 100 points, got 0"):
        first_cloud(config, scene, sampler)


def test_a_shorter_run_goes_through_the_same_stages():
    half = stretched(PRESETS["fast"], 0.5)
    assert half.doublings == tuple(step // 2 for step in PRESETS["fast"].doublings)
    assert half.relocation.end == PRESETS["fast"].relocation.end // 2
    assert half.relocation.every == PRESETS["fast"].relocation.every


def test_several_processes_are_refused(capture):
    scene = load_scene(capture).normalised()
    config = dataclasses.replace(SMOKE, fit=dataclasses.replace(SMOKE.fit, processes=2))
    with pytest.raises(UserError, match=r"--fit\.processes: expected 1"):
        SplatModule(config, scene)


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_the_run_folder(preset):
    assert config_file.parse(SplatConfig, config_file.render(PRESETS[preset])) == PRESETS[preset]
