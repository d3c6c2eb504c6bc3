"""What the verbs make of a run of a moving world: a clip whose photographs are as bright as their time."""

import json
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest
import torch

import rilievo.engine.run
from rilievo.cli import main
from rilievo.cli.view import View, open_viewer
from rilievo.engine.method import Artifact, Method, Rendering
from rilievo.engine.workspace import Record, SceneSource, Workspace
from rilievo.io.image import read_color, write_image
from rilievo.io.video import read_video

FRAMES, SIZE = 6, (20, 16)
TEST_FRAMES = (1, 4)
LEVEL = 255 // (FRAMES - 1)


class Dawn:
    """A model that is as bright as the time, a hundredth less, and pink where nobody tells it."""

    def render(self, cameras, index, time=None):
        width, height = cameras.sizes_px[index].tolist()
        color = torch.tensor([1.0, 0.0, 1.0]) if time is None else torch.full((3,), time - 0.01)
        return Rendering(color.expand(height, width, 3), torch.ones(height, width), torch.ones(height, width))

    def displacement(self, cameras, index, from_time, to_time):
        width, height = cameras.sizes_px[index].tolist()
        return torch.zeros(height, width, 3)

    def to(self, device):
        return self

    def extract_mesh(self, resolution):
        raise NotImplementedError


@dataclass(frozen=True)
class Config:
    """Nothing to set."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """Six frames of a moving camera; two photographs of another one, which stands still, are held out."""
    folder = tmp_path_factory.mktemp("captures") / "dawn"
    K = [[30.0, 0, SIZE[0] / 2], [0, 30.0, SIZE[1] / 2], [0, 0, 1]]
    for name, frames in (("cameras", range(FRAMES)), ("cameras_test", TEST_FRAMES)):
        listed = []
        for i in frames:
            image = f"{name}/{i:03d}.png"
            write_image(folder / image, np.full((SIZE[1], SIZE[0], 3), LEVEL * i, np.uint8))
            pose = np.eye(4)
            pose[:3, 3] = (0.1 * i, 0, -3) if name == "cameras" else (0, 1, -3)
            listed.append({"image": image, "frame": i, "K": K, "camera_to_world": pose.tolist()})
        (folder / f"{name}.json").write_text(json.dumps({"frames": listed}))
    return folder


@pytest.fixture
def run(capture, tmp_path, monkeypatch):
    return workspace_of(capture, tmp_path, monkeypatch, {Artifact.RADIANCE, Artifact.MOTION})


def workspace_of(capture, tmp_path, monkeypatch, gives):
    source = SceneSource(str(capture), region=(0.0, 0.0, 0.0, 1.0))
    workspace = Workspace.create(tmp_path / "run", Record("dawn", "fast", source), Config())
    workspace.checkpoints.mkdir()
    (workspace.checkpoints / "step-1.ckpt").write_text("")
    method = Method(
        name="dawn",
        summary="A stand-in.",
        needs=frozenset({Artifact.SCENE}),
        gives=frozenset(gives),
        presets=MappingProxyType({"fast": Config()}),
        run=lambda config, workspace: None,
        load=lambda config, scene, checkpoint: Dawn(),
    )
    monkeypatch.setattr(rilievo.engine.run, "available", lambda: {"dawn": method})
    return workspace


def brightness(run, tmp_path, *flags: str) -> list[float]:
    """Of each picture that `render` makes, in [0, 1]."""
    folder = tmp_path / "pictures"
    assert main(["render", str(run.folder), "-o", str(folder), *flags]) == 0
    return [float(read_color(path).mean()) / 255 for path in sorted(folder.iterdir())]


def test_held_out_photographs_are_compared_at_their_times(run):
    assert main(["evaluate", str(run.folder)]) == 0
    views = json.loads(run.metrics_path.read_text())["images"]["views"]
    assert len(views) == len(TEST_FRAMES)
    assert [view["psnr"] for view in views.values()] == pytest.approx([40, 40], abs=0.1)


@pytest.mark.parametrize("path", ["orbit", "still"])
def test_time_runs_along_a_path(run, tmp_path, path):
    got = brightness(run, tmp_path, "--path", path, "--frames", "5")
    np.testing.assert_allclose(got, [0, 0.25, 0.5, 0.75, 1], atol=0.015)


@pytest.mark.parametrize(
    ("time", "expected"), [(["0.4"], [0.4, 0.4, 0.4]), (["1", "0"], [1, 0.5, 0]), (["0.2", "0.6"], [0.2, 0.4, 0.6])]
)
def test_time_is_held_or_runs_as_told(run, tmp_path, time, expected):
    np.testing.assert_allclose(
        brightness(run, tmp_path, "--path", "orbit", "--frames", "3", "--time", *time), expected, atol=0.015
    )


@pytest.mark.parametrize("path", [(), ("--path", "train")])
def test_cameras_of_the_capture_look_at_the_times_of_their_photographs(run, tmp_path, path):
    np.testing.assert_allclose(brightness(run, tmp_path, *path), np.arange(FRAMES) / 5, atol=0.015)


def test_held_out_cameras_may_look_at_one_time(run, tmp_path):
    np.testing.assert_allclose(brightness(run, tmp_path, "--path", "test", "--time", "1"), [1, 1], atol=0.015)


def test_colour_depth_and_flow_of_a_clip_make_one_video(run, tmp_path):
    film = tmp_path / "a.mp4"
    show = ["--show", "color", "depth", "flow"]
    assert main(["render", str(run.folder), "-o", str(film), "--path", "still", "--frames", "4", *show]) == 0
    frames = list(read_video(film))
    assert len(frames) == 4
    assert frames[0].shape[1] > 3 * SIZE[0]


def test_the_viewers_slider_says_the_time(run):
    viewer, render = open_viewer(View(run.folder, port=18673))
    try:
        assert render is not None
        camera = rilievo.engine.run.open_run(run.folder).scene.cameras[0]
        assert render(camera, 0.6).mean() == pytest.approx(0.59 * 255, abs=0.6)
    finally:
        viewer.close()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--time", "1.5"], "in [0, 1]"),
        (["--time", "0", "0.5", "1"], "one or two numbers"),
        (["--path", "still", "--view", "99"], "--view"),
        (["--view", "1"], "--path still"),
        (["--path", "still", "--frames", "1", "--show", "flow"], "at least two pictures"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(run, tmp_path, capsys, flags, said):
    assert main(["render", str(run.folder), "-o", str(tmp_path / "a.mp4"), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a.mp4").exists()


def test_a_world_that_does_not_move_has_no_time(capture, tmp_path, monkeypatch, capsys):
    run = workspace_of(capture, tmp_path, monkeypatch, {Artifact.RADIANCE})
    assert main(["render", str(run.folder), "-o", str(tmp_path / "a"), "--time", "0.5"]) == 2
    assert "a moving world" in capsys.readouterr().err
