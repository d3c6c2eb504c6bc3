"""A run opened again: its scene, settings and model are those it was fitted with."""

import re

import pytest
import torch

from rilievo.cli import main
from rilievo.data.load import load_scene
from rilievo.engine.method import Model, available
from rilievo.engine.run import open_run
from rilievo.engine.workspace import Record, SceneSource, Workspace
from rilievo.errors import UserError


@pytest.fixture(scope="module", params=["neus", "nerf"])
def fitted(request, capture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted") / "run"
    command = ["fit", request.param, str(capture), "-o", str(folder), "--preset", "smoke", "--steps", "2"]
    assert main([*command, "--seed", "5", "--downscale", "2"]) == 0
    return request.param, folder


def test_a_run_is_opened_with_the_scene_and_the_settings_it_was_fitted_with(fitted, capture):
    method, folder = fitted
    run = open_run(folder)
    assert run.method is available()[method]
    assert (run.config.fit.steps, run.config.fit.seed) == (2, 5)
    assert run.scene.is_normalised
    expected = load_scene(capture, downscale=2.0).normalised()
    assert torch.equal(run.scene.cameras.K, expected.cameras.K)
    assert torch.equal(run.scene.capture_from_world, expected.capture_from_world)


def test_the_model_of_a_run_renders_and_gives_the_same_picture_each_time(fitted):
    run = open_run(fitted[1])
    assert isinstance(run.model, Model)
    assert run.model is run.model
    one, other = run.model.render(run.scene.cameras, 3), open_run(fitted[1]).model.render(run.scene.cameras, 3)
    assert one.rgb.shape == (20, 20, 3)
    assert torch.equal(one.rgb, other.rgb)
    assert one.rgb.isfinite().all()


def test_a_run_without_a_checkpoint_says_to_fit_it_first(capture, tmp_path):
    record = Record("neus", "smoke", SceneSource(str(capture)))
    Workspace.create(tmp_path / "run", record, available()["neus"].presets["smoke"])
    with pytest.raises(UserError, match=r"expected a checkpoint, got none yet"):
        _ = open_run(tmp_path / "run").model


def test_a_run_of_a_method_that_is_unknown_here_names_those_that_are_known(capture, tmp_path):
    record = Record("blobs", "fast", SceneSource(str(capture)))
    Workspace.create(tmp_path / "run", record, available()["neus"].presets["smoke"])
    with pytest.raises(UserError, match=re.escape(f"expected a method among {', '.join(available())}, got blobs")):
        open_run(tmp_path / "run")
