"""NeRO's first stage learns a tiny scene, knows what is hidden, and keeps its settings."""

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
from rilievo.methods.nero_shape.config import PRESETS, NeroShapeConfig
from rilievo.methods.nero_shape.module import NeroShapeModule

RESOLUTION = 48


@pytest.fixture(scope="module")
def learned(fit, capture):
    return fit("nero-shape", capture)


def test_sixty_steps_gain_two_decibels_on_a_photograph_that_was_held_out(learned, fit, capture):
    start = image_metrics(fit("nero-shape", capture, "--steps", "1"))["mean"]["psnr"]
    assert image_metrics(learned)["mean"]["psnr"] > start + 2


def test_the_surface_is_closed_and_faces_outwards(learned):
    mesh = surface(learned, RESOLUTION)
    assert mesh.is_closed()
    assert mesh.colors is not None
    assert mesh.volume > 0


def test_every_loss_and_the_photographer_can_be_asked_for(uncut_capture, tmp_path):
    smoke = PRESETS["smoke"]
    weights = dataclasses.replace(smoke.losses, colorless_light=Constant(0.01))
    config = dataclasses.replace(
        smoke,
        losses=weights,
        photographer=True,
        lights=dataclasses.replace(smoke.lights, from_sphere=True),
        occlusion_start=0,
        fit=dataclasses.replace(smoke.fit, steps=3),
    )
    scene = load_scene(uncut_capture, region=(0.0, 0.0, -0.2, 1.6)).normalised()
    module = train(NeroShapeModule(config, scene), scene, config.fit, Workspace(tmp_path))
    header, first = (tmp_path / "log" / "metrics.csv").read_text().splitlines()[:2]
    numbers = dict(zip(header.split(","), map(float, first.split(","))))
    assert {"loss/occlusion", "loss/colorless_light", "loss/rgb_charbonnier"} <= numbers.keys()
    assert np.isfinite(list(numbers.values())).all()
    seen = module.model.render(scene.cameras, 0)
    assert seen.rgb.isfinite().all()
    assert seen.background is not None


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_the_run_folder(preset):
    assert config_file.parse(NeroShapeConfig, config_file.render(PRESETS[preset])) == PRESETS[preset]


def test_faint_samples_change_the_picture_by_less_than_a_grey_level(learned):
    model, cameras = learned.model, learned.scene.cameras
    spared = model.render(cameras, 0).rgb
    model.config = dataclasses.replace(model.config, shaded_weight=0.0)
    assert (model.render(cameras, 0).rgb - spared).abs().max() < 4 / 255
    assert torch.isfinite(spared).all()
