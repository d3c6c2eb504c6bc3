"""Unsigned distances learn a tiny scene, in the frame of its capture, with masks and without."""

import dataclasses

import numpy as np
import pytest
import torch

from rilievo.cli.evaluate import image_metrics
from rilievo.cli.mesh import surface
from rilievo.data.load import load_scene
from rilievo.engine import config_file
from rilievo.engine.fit import fit as train
from rilievo.engine.schedules import Constant
from rilievo.engine.workspace import Workspace
from rilievo.methods.udf.config import PRESETS, UdfConfig
from rilievo.methods.udf.model import UdfModel
from rilievo.methods.udf.module import UdfModule

RESOLUTION = 48


def psnr(run) -> float:
    return image_metrics(run)["mean"]["psnr"]


@pytest.fixture(scope="module")
def learned(fit, capture):
    return fit("udf", capture)


def test_sixty_steps_gain_two_decibels_on_a_photograph_that_was_held_out(learned, fit, capture):
    assert psnr(learned) > psnr(fit("udf", capture, "--steps", "1")) + 2


def test_the_surface_has_normals_and_the_objects_colours(learned):
    mesh = surface(learned, RESOLUTION)
    assert mesh.normals is not None
    assert mesh.colors is not None
    assert np.linalg.norm(mesh.normals, axis=-1).min() > 0.99
    assert np.linalg.norm(mesh.vertices - mesh.vertices.mean(0), axis=-1).max() < 1.5  # not the region's border


def test_a_capture_moved_and_scaled_gives_the_mesh_moved_and_scaled(fit, capture, moved_capture):
    steps = ("--steps", "5")
    here, there = (surface(fit("udf", scene, *steps), RESOLUTION) for scene in (capture, moved_capture))
    expected = here.vertices * 2.5 + [10, -4, 3]
    voxel = 2.5 * 2 * 1.7 / RESOLUTION
    assert np.abs(there.vertices.min(0) - expected.min(0)).max() < voxel / 2
    assert np.abs(there.vertices.max(0) - expected.max(0)).max() < voxel / 2


def test_without_masks_the_world_behind_is_learned_and_shown_where_no_surface_is(fit, uncut_capture):
    run = fit("udf", uncut_capture, "--steps", "12", "--region", "0", "0", "-0.2", "1.6")
    assert run.model.outside is not None
    seen = run.model.render(run.scene.cameras, 2)
    assert seen.background is not None
    assert seen.background.isfinite().all()
    bare = seen.opacity == 0
    assert 0 < bare.float().mean() < 1
    assert torch.allclose(seen.rgb[bare], seen.background[bare], atol=1e-6)


def test_every_loss_can_be_asked_for_and_is_finite(uncut_capture, tmp_path):
    names = ("rgb_l1", "sparsity", "one_sided")
    smoke = PRESETS["smoke"]
    weights = dataclasses.replace(smoke.losses, **dict.fromkeys(names, Constant(0.01)))
    config = dataclasses.replace(smoke, losses=weights, fit=dataclasses.replace(smoke.fit, steps=3))
    scene = load_scene(uncut_capture, region=(0.0, 0.0, -0.2, 1.6)).normalised()
    train(UdfModule(config, scene), scene, config.fit, Workspace(tmp_path))
    header, first = (tmp_path / "log" / "metrics.csv").read_text().splitlines()[:2]
    numbers = dict(zip(header.split(","), map(float, first.split(","))))
    assert {f"loss/{name}" for name in names} <= numbers.keys()
    assert np.isfinite(list(numbers.values())).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_the_run_folder(preset):
    assert config_file.parse(UdfConfig, config_file.render(PRESETS[preset])) == PRESETS[preset]


def test_samples_before_a_surface_hide_it_less_and_less(capture):
    config = PRESETS["smoke"]
    model = UdfModel(config, load_scene(capture).normalised())
    trust = []
    for step in (0, config.approach_step, config.first_surface_step):
        model.set_step(step)
        trust.append(model.widths.saturation)
    assert trust == [0.0, 0.9, 1.0]
