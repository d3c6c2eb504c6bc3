"""Depth and flow go along when a clip is written in another layout, or it is said that they do not."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rilievo.cli import main
from rilievo.data.companions import flow_beside
from rilievo.data.convert import convert
from rilievo.data.load import load_scene
from rilievo.errors import UserError

from .captures import ball_scene, edit

COUNT, WIDTH, HEIGHT = 12, 48, 40


def depth_of(i):
    return np.random.default_rng(i).uniform(1, 5, (HEIGHT, WIDTH)).astype(np.float32)


def flow_of(i, step):
    return np.full((HEIGHT, WIDTH, 2), (2 * step, 0.25 * i), np.float32)


@pytest.fixture
def clip(tmp_path):
    """Twelve frames with estimated depth, a piece of it unknown, and flow to both neighbours."""
    scene = replace(ball_scene(COUNT, WIDTH, HEIGHT, meaning=None), test_views=())
    folder = convert(replace(scene, times=torch.linspace(0, 1, COUNT)), tmp_path / "clip", "nerfstudio")
    for name in ("depth_mono", "flow_fwd", "flow_bwd"):
        (folder / name).mkdir()
    for i in range(COUNT):
        depth = depth_of(i)
        depth[:3] = np.nan
        np.savez(folder / "depth_mono" / f"{i:03d}.npz", depth=depth)
        for name, step in (("flow_fwd", 1), ("flow_bwd", -1)):
            np.save(folder / name / f"{i:03d}.npy", flow_of(i, step))
    return folder


def test_depth_and_flow_of_a_clip_survive_in_nerfstudio(clip, tmp_path):
    first = load_scene(clip, holdout=4)
    back = load_scene(convert(first, tmp_path / "out", "nerfstudio"))
    assert back.test_views == first.test_views == (0, 4, 8)
    for i in first.train_views:
        np.testing.assert_array_equal(back.depth(i), first.depth(i))
    assert [set(files) for files in back.flow_files] == [set(files) for files in first.flow_files]
    for i, files in enumerate(first.flow_files):
        for name in files:
            one, other = flow_beside(first, i, name), flow_beside(back, i, name)
            np.testing.assert_array_equal(one.flow, other.flow)
            np.testing.assert_array_equal(one.valid, other.valid)


def test_measured_depth_is_listed_and_an_estimate_is_not(clip, tmp_path):
    (clip / "sensor").mkdir()
    np.save(clip / "sensor" / "005.npy", depth_of(5))
    edit(clip, lambda content: content["frames"][5].update(depth_file_path="sensor/005.npy"))
    (clip / "depth_mono").rename(clip / "unused")
    back = load_scene(convert(load_scene(clip, holdout=5), tmp_path / "out", "nerfstudio"))
    np.testing.assert_array_equal(back.depth(5), depth_of(5))
    assert 5 in back.test_views
    (clip / "unused").rename(clip / "depth_mono")
    convert(load_scene(clip), tmp_path / "estimates", "nerfstudio")
    frames = json.loads((tmp_path / "estimates" / "transforms.json").read_text())["frames"]
    assert not any("depth_file_path" in frame for frame in frames)


def test_flow_and_depth_shrink_with_the_photos(clip, tmp_path):
    back = load_scene(convert(load_scene(clip, downscale=2), tmp_path / "out", "nerfstudio"))
    flow = flow_beside(back, 3, back.names[4]).flow
    np.testing.assert_allclose(flow, np.full((HEIGHT // 2, WIDTH // 2, 2), (1, 0.375)), rtol=1e-6)
    assert back.depth(3).shape == (HEIGHT // 2, WIDTH // 2)


def test_flow_of_another_size_is_refused_and_nothing_is_written(clip, tmp_path):
    np.save(clip / "flow_fwd" / "002.npy", np.zeros((HEIGHT, WIDTH - 1, 2), np.float32))
    with pytest.raises(UserError, match="48x40 pixels, got 47x40"):
        convert(load_scene(clip), tmp_path / "out", "nerfstudio")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("to", "told"), [("colmap", True), ("nerfstudio", False)])
def test_what_a_layout_has_no_word_for_is_told(clip, tmp_path, capsys, to, told):
    assert main(["convert", str(clip), "-o", str(tmp_path / "out"), "--to", to]) == 0
    assert ("left out, since that layout has no word for them: times, depth, flow" in capsys.readouterr().out) is told
