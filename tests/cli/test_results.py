"""What the verbs make of a run, with a model that knows the answer: the demo's object itself."""

import json
import math
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest
import torch

import rilievo.engine.run
from rilievo.cli import main
from rilievo.cli.view import View, open_viewer
from rilievo.demo import amphora, studio
from rilievo.demo.capture import true_surface, write_capture
from rilievo.engine.method import Artifact, Method, Rendering
from rilievo.engine.workspace import Record, SceneSource, Workspace
from rilievo.io.mesh_file import read_mesh, write_mesh
from rilievo.io.video import read_video

ERROR = 0.01
"""All colours of the model are this much too dark, which is 40 dB."""


class Truth:
    """A model that renders the amphora by tracing its formula."""

    def __init__(self, capture_from_world: torch.Tensor) -> None:
        self.capture_from_world = capture_from_world

    def render(self, cameras, index, time=None):
        view = cameras.transformed(self.capture_from_world)[index]
        rgba = torch.from_numpy(studio.photograph(view)).float() / 255
        rays = view.view_rays(0)
        t, _ = amphora.look(rays.origins, rays.directions)
        hit = t.isfinite()
        normals = torch.zeros(len(rays), 3)
        normals[hit] = amphora.normals(rays.at(t)[hit])
        shape = rgba.shape[:2]
        alpha = rgba[..., 3]
        rgb = rgba[..., :3] * alpha[..., None] + (1 - alpha[..., None])
        return Rendering(rgb - ERROR, alpha, t.where(hit, torch.zeros(())).reshape(shape), normals.reshape(*shape, 3))

    def to(self, device):
        return self

    def extract_mesh(self, resolution):
        return true_surface(resolution).transformed(np.linalg.inv(self.capture_from_world.numpy()))


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures") / "amphora"
    write_capture(folder, views=14, size_px=32)
    return folder


@pytest.fixture
def run(capture, tmp_path, monkeypatch):
    source = SceneSource(str(capture), downscale=2.0)
    workspace = Workspace.create(tmp_path / "run", Record("truth", "fast", source), Config())
    workspace.checkpoints.mkdir()
    (workspace.checkpoints / "step-1.ckpt").write_text("")
    method = Method(
        name="truth",
        summary="A stand-in.",
        needs=frozenset({Artifact.SCENE}),
        gives=frozenset({Artifact.MESH}),
        presets=MappingProxyType({"fast": Config()}),
        run=lambda config, workspace: None,
        load=lambda config, scene, checkpoint: Truth(scene.capture_from_world),
    )
    monkeypatch.setattr(rilievo.engine.run, "available", lambda: {"truth": method})
    return workspace


def test_the_mesh_of_a_run_lies_in_the_frame_of_its_capture(run, tmp_path, capsys):
    assert main(["mesh", str(run.folder), "-o", str(tmp_path / "a.ply"), "--resolution", "64"]) == 0
    assert "closed" in capsys.readouterr().out
    on_surface = torch.from_numpy(read_mesh(tmp_path / "a.ply").vertices).float()
    assert amphora.sdf(on_surface).abs().max() < 5e-3


def test_a_hundredth_too_dark_is_forty_decibels_on_photographs_at_stored_resolution(run, capsys):
    assert main(["evaluate", str(run.folder)]) == 0
    metrics = json.loads(run.metrics_path.read_text())
    assert list(metrics["images"]["views"]) == ["images/0003.png", "images/0010.png"]  # not the halved ones
    assert metrics["images"]["mean"]["psnr"] == pytest.approx(-20 * math.log10(ERROR), abs=1e-3)
    assert metrics["images"]["mean"]["ssim"] > 0.99
    assert "images/0003.png" in capsys.readouterr().out


def test_a_mesh_compared_with_itself_has_no_error(tmp_path, capsys):
    write_mesh(tmp_path / "truth.ply", true_surface(48))
    output = tmp_path / "metrics.json"
    command = ["evaluate", str(tmp_path / "truth.ply"), "--reference", str(tmp_path / "truth.ply"), "-o", str(output)]
    assert main(command) == 0
    assert json.loads(output.read_text())["mesh"]["chamfer_percent"] < 1e-3


def test_a_turntable_has_the_frames_that_were_asked_for(run, tmp_path):
    film = tmp_path / "a.mp4"
    assert main(["render", str(run.folder), "-o", str(film), "--frames", "5", "--size", "20", "--show", "normals"]) == 0
    frames = list(read_video(film))
    assert len(frames) == 5
    assert frames[0].shape == (20, 20, 3)


def test_poses_in_a_file_are_in_the_frame_of_the_capture(run, tmp_path):
    poses = studio.cameras(14, 32).world_from_cam[:2].tolist()
    (tmp_path / "path.json").write_text(json.dumps(poses))
    folder = tmp_path / "pictures"
    assert main(["render", str(run.folder), "-o", str(folder), "--path", str(tmp_path / "path.json")]) == 0
    assert sorted(p.name for p in folder.iterdir()) == ["0000.png", "0001.png"]


def test_a_converted_capture_holds_the_same_cameras(capture, tmp_path):
    source = SceneSource(str(capture))
    assert main(["convert", source.path, "-o", str(tmp_path / "colmap"), "--to", "colmap"]) == 0
    there = SceneSource(str(tmp_path / "colmap")).load()
    assert torch.allclose(there.cameras.centers, source.load().cameras.centers, atol=1e-6)


def test_the_viewer_of_a_run_holds_its_cameras_and_its_mesh(run):
    write_mesh(run.mesh_path(), true_surface(32))
    viewer, render = open_viewer(View(run.folder, port=18573))
    try:
        assert {"mesh", "cameras/0", "cameras/13"} <= set(viewer.nodes)
        assert render is not None
        assert render(run.scene.normalised().cameras[0], None).shape == (16, 16, 3)
    finally:
        viewer.close()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["mesh", "{tmp}/nowhere"], "expected a run folder"),
        (["mesh", "{run}", "-o", "{tmp}/a.stl"], ".ply"),
        (["mesh", "{run}", "--resolution", "2"], "--resolution"),
        (["render", "{run}", "-o", "{tmp}/a.mp4", "--path", "circle"], "orbit, spiral, test"),
        (["render", "{run}", "-o", "{tmp}/a.mp4", "--frames", "0"], "--frames"),
        (["evaluate", "{run}", "--reference", "{tmp}/none.ply"], "--reference"),
        (["evaluate", "{tmp}/a.ply"], "--reference"),
        (["convert", "{capture}", "-o", "{run}", "--to", "colmap"], "-o"),
        (["view", "{tmp}/nowhere"], "nothing there"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence_and_no_files(run, capture, tmp_path, capsys, command, said):
    before = sorted(tmp_path.rglob("*"))
    assert main([part.format(tmp=tmp_path, run=run.folder, capture=capture) for part in command]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert told.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
