"""The command line asked with an oracle for a network, and what came of it."""

from __future__ import annotations

from pathlib import Path

import rilievo.cli.align as verb
from rilievo.data.load import load_scene
from rilievo.geometry.alignment import camera_errors


def told_by(monkeypatch, predictor):
    """Have `predictor` answer in the place of a network."""
    monkeypatch.setattr(verb, "_network", lambda asked: (predictor, "an oracle; licence: none needed"))
    return predictor


def errors_of(scene_folder, world):
    scene = load_scene(scene_folder)
    views = [int(Path(name).stem) for name in scene.names]
    return scene, camera_errors(scene.cameras.world_from_cam.double(), world.world_from_cam[views])


def assert_one_sentence(capsys, said):
    told = capsys.readouterr().err
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, told
    assert said in errors[0], errors[0]
    assert "Traceback" not in told
