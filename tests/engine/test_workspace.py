"""A run folder remembers what was asked, and is never started over someone's files."""

import json
from dataclasses import dataclass

import pytest

from rilievo.engine.workspace import Record, SceneSource, Workspace, require_free
from rilievo.errors import UserError


@dataclass(frozen=True)
class Config:
    steps: int = 10
    lr: float = 0.01


RECORD = Record("neus", "fast", SceneSource("captures/bear", downscale=2.0, region=(0.0, 1.0, 2.0, 3.5), holdout=8))


def test_a_run_remembers_what_it_was_asked(tmp_path):
    Workspace.create(tmp_path / "run", RECORD, Config(steps=7))
    again = Workspace.open(tmp_path / "run")
    assert again.record == RECORD
    assert again.config(Config) == Config(steps=7)


def test_an_unknown_key_in_a_stored_config_is_refused(tmp_path):
    run = Workspace.create(tmp_path / "run", RECORD, Config())
    run.config_path.write_text(run.config_path.read_text().replace("steps:", "stepps:"))
    with pytest.raises(UserError, match=r"unknown key 'stepps'.*steps"):
        Workspace.open(tmp_path / "run").config(Config)


def test_an_earlier_run_is_not_written_over(tmp_path):
    Workspace.create(tmp_path, RECORD, Config())
    with pytest.raises(UserError, match="--resume"):
        Workspace.create(tmp_path, RECORD, Config())


def test_someones_files_are_not_written_over(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="choose another -o"):
        Workspace.create(tmp_path, RECORD, Config())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_asking_whether_a_folder_is_free_leaves_nothing_behind(tmp_path):
    require_free(tmp_path / "a" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        require_free(tmp_path / "file" / "run")


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"expected a run folder.*no such folder"):
        Workspace.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match="without one"):
        Workspace.open(tmp_path)


def test_the_latest_checkpoint_has_the_highest_step(tmp_path):
    run = Workspace.create(tmp_path, RECORD, Config())
    assert run.latest_checkpoint() is None
    run.checkpoints.mkdir()
    for name in ("step-900.ckpt", "step-1000.ckpt", ".step-2000.ckpt"):  # the last one was being written
        (run.checkpoints / name).write_text("")
    latest = run.latest_checkpoint()
    assert latest is not None
    assert latest.name == "step-1000.ckpt"


def test_numbers_json_cannot_say_become_null(tmp_path):
    run = Workspace.create(tmp_path, RECORD, Config())
    path = run.write_json("metrics.json", {"psnr": 27.5, "chamfer": float("nan"), "views": [float("inf"), 1]})
    assert json.loads(path.read_text()) == {"psnr": 27.5, "chamfer": None, "views": [None, 1]}
