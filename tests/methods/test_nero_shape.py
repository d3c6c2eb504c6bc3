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
from rilievo.engine.settings import MlpConfig
from rilievo.engine.workspace import Workspace
from rilievo.methods.nero_shape.config import PRESETS, DenseConfig, NeroShapeConfig
from rilievo.methods.nero_shape.module import NeroShapeModule
from rilievo.methods.nero_shape.published import PublishedModel, PublishedModule

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


def test_the_published_networks_learn_and_are_a_ball_at_first(capture, tmp_path):
    paper = PRESETS["paper"]
    config = dataclasses.replace(
        paper,
        dense=DenseConfig(even=8, more=8, rounds=2, beyond=4),
        fit=dataclasses.replace(paper.fit, steps=2, rays=16, max_rays=16, log_every=1, preview_every=100),
        color=MlpConfig(width=16),
        lights=dataclasses.replace(paper.lights, network=MlpConfig(width=16)),
        occlusion_start=0,
        photographer=True,
    )
    scene = load_scene(capture).normalised()
    module = train(PublishedModule(config, scene), scene, config.fit, Workspace(tmp_path))
    lines = [line.split(",") for line in (tmp_path / "log" / "metrics.csv").read_text().splitlines()]
    numbers = dict(zip(lines[0], map(float, lines[1])))
    assert {"loss/rgb_charbonnier", "loss/eikonal", "loss/start", "loss/occlusion"} <= numbers.keys()
    assert np.isfinite(list(numbers.values())).all()
    seen = module.model.render(scene.cameras.resized(width=6), 0)
    assert seen.rgb.isfinite().all()
    mesh = module.model.extract_mesh(24)
    # Σ 2 relu(g)² / n over n units has variance 5 / n, a length half of it, and eight layers of 256 multiply theirs
    scatter = (8 * 5 / (4 * 256)) ** 0.5
    radius = np.linalg.norm(mesh.vertices, axis=-1) / config.sphere_radius
    np.testing.assert_allclose(radius, 1, atol=3 * scatter)
    assert (np.einsum("vc,vc->v", mesh.vertices, mesh.vertex_normals) > 0).mean() > 0.95


def test_the_published_networks_show_what_they_think_of_the_surface(capture):
    paper = PRESETS["paper"]
    config = dataclasses.replace(paper, dense=DenseConfig(even=16, more=16, rounds=2, beyond=4))
    scene = load_scene(capture).normalised()
    model = PublishedModel(config)
    with torch.no_grad():
        maps = model.maps(scene.cameras.resized(width=8).view_rays(0))
    met = maps.inside[:, 0]
    assert met.any()
    assert not met.all()
    torch.testing.assert_close(maps.normals.norm(dim=-1), torch.ones(len(met)))
    for name, picture in maps.pictures().items():
        assert ((picture >= 0) & (picture <= 1)).all(), name
        assert not picture[~met].any(), name
    assert ((maps.hidden >= 0) & (maps.hidden <= 1 + 1e-5)).all()
