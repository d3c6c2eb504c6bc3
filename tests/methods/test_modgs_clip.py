"""What modgs reads of a clip: frames in order of time, with depth, masks and flow; and what it says of others."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rilievo.data.load import load_scene
from rilievo.errors import UserError
from rilievo.methods.modgs.clip import read_clip
from rilievo.methods.modgs.config import ClipConfig
from rilievo.methods.modgs.pairs import FlowPairs

from .sliding_clip import FRAMES, HEIGHT, WIDTH, eye, photograph, write_clip, write_flows

FROM_FILES = ClipConfig(flow="files", reach=(1, 3), cycle_px=1.5)
INNER = (slice(8, -8), slice(8, -8))


def test_masks_of_a_clip_say_what_moves_and_cover_nothing(clip_folder):
    scene = load_scene(clip_folder)
    assert scene.coverage is None
    assert scene.times.tolist()[:FRAMES] == pytest.approx([i / 7 for i in range(FRAMES)])
    _, _, hit = photograph(eye(0), 0.0)
    assert ((scene.moving[0] > 0) == hit).all()
    assert len(scene.subset([1, 3]).moving) == 2


def test_frames_of_a_bent_lens_are_those_of_a_pinhole_and_depth_and_masks_with_them(tmp_path):
    write_clip(tmp_path / "bent", masks=True, distortion=(-0.12, 0.02))
    scene = load_scene(tmp_path / "bent")
    clip = read_clip(scene)
    assert not clip.cameras.distortion.any()
    for i in (0, 5):
        pinhole = clip.cameras[i]
        rgb, depth, hit = photograph(eye(i), i / 7, pinhole)
        shown = clip.shown[i].numpy()
        assert 0.8 < shown.mean() < 1
        assert np.abs(clip.photos[i].numpy()[shown].astype(float) - rgb[shown]).mean() < 4
        mono = (0.3 + 0.02 * i) * depth ** (1 + 0.05 * i) + 0.1
        close = np.abs(clip.estimates[i].numpy() / mono - 1) < 0.02
        assert close[shown].mean() > 0.97
        assert (clip.moving[i].numpy() == hit)[shown].mean() > 0.97
    with pytest.raises(UserError, match="flow belongs to their pixels"):
        FlowPairs(clip, FROM_FILES)


def without_times(folder):
    shutil.rmtree(folder / "masks")
    for name in ("cameras.json", "cameras_test.json"):
        content = json.loads((folder / name).read_text())
        content["frames"] = [{k: v for k, v in f.items() if k not in ("frame", "mask")} for f in content["frames"]]
        (folder / name).write_text(json.dumps(content))


def one_frame(folder):
    content = json.loads((folder / "cameras.json").read_text())
    content["frames"] = [dict(content["frames"][3], time=0.4)]
    (folder / "cameras.json").write_text(json.dumps(content))


def replace_depth(depth):
    return lambda folder: np.savez(folder / "depth_mono" / "003.npz", depth=depth)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: shutil.rmtree(folder / "depth_mono"), "monocular depth of its frames in depth_mono/ or depth/"),
        (lambda folder: (folder / "depth_mono" / "003.npz").unlink(), "depth of frame 003: expected"),
        (replace_depth(np.full((HEIGHT, WIDTH), np.nan)), "finite numbers above 0, got none"),
        (replace_depth(np.ones((HEIGHT, HEIGHT))), "the shape of its frame, 80x60 pixels, got 60x60"),
        (replace_depth(np.ones((HEIGHT, WIDTH, 3))), "one number per pixel"),
        (lambda folder: (folder / "depth_mono" / "003.npz").write_bytes(b"no archive"), "a sound depth file"),
        (without_times, "frames have times, got photos without times"),
        (one_frame, "at least two training frames at different times, got 1 frame"),
    ],
)
def test_what_a_clip_lacks_is_said(spoil, said, spoiled):
    spoil(spoiled)
    with pytest.raises(UserError, match=said):
        read_clip(load_scene(spoiled).normalised())


def from_files(folder, **opening):
    scene = load_scene(folder, **opening).normalised()
    return FlowPairs(read_clip(scene), FROM_FILES)


def test_flow_files_lead_from_frame_to_frame_and_must_fit_their_frames(spoiled):
    with pytest.raises(UserError, match=r"flow of frame 000: expected .*flow_fwd"):
        from_files(spoiled)
    write_flows(spoiled)
    flows = from_files(spoiled)
    assert torch.equal(flows.flow(1, 4)[INNER], torch.full((HEIGHT - 16, WIDTH - 16, 2), 3.0))
    assert flows.believed(4, 1)[INNER].all()
    np.savez(spoiled / "flow_fwd" / "002.npz", flow=np.zeros((HEIGHT, 40, 2), np.float16))
    with pytest.raises(UserError, match="the size of its frame, 80x60 pixels, got 40x60"):
        from_files(spoiled)


def test_flow_goes_through_frames_that_are_held_out(spoiled):
    """Of frames 000 … 007 every third is held out; the neighbours 002 and 004 are two of the capture's frames apart."""
    (spoiled / "cameras_test.json").unlink()
    write_flows(spoiled)
    scene = load_scene(spoiled, holdout=3)
    assert scene.test_views == (0, 3, 6)
    flows = from_files(spoiled, holdout=3)
    apart = [1, 2, 4, 5, 7]
    for i in range(4):
        steps = torch.tensor(float(apart[i + 1] - apart[i]))
        assert torch.equal(flows.flow(i, i + 1)[INNER], steps.expand(HEIGHT - 16, WIDTH - 16, 2))
        assert torch.equal(flows.flow(i + 1, i)[INNER], -steps.expand(HEIGHT - 16, WIDTH - 16, 2))
    (spoiled / "flow_fwd" / "003.npz").unlink()
    with pytest.raises(UserError, match=r"flow of frame 003: expected .*flow_fwd"):
        from_files(spoiled, holdout=3)


def test_flow_of_shrunken_frames_shrinks_with_them(spoiled):
    write_flows(spoiled)
    flow = from_files(spoiled, downscale=2).flow(2, 3)
    assert flow.shape == (HEIGHT // 2, WIDTH // 2, 2)
    assert torch.equal(flow, torch.full_like(flow, 0.5))


def test_depth_may_come_from_a_model_of_the_hub(spoiled, monkeypatch):
    shutil.rmtree(spoiled / "depth_mono")
    scene = load_scene(spoiled)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"rilievo\[depth\]"):
        read_clip(scene, "hub:someone/depth-small")
    asked = []

    def pipeline(task, model):
        asked.append((task, model))

        def estimate(picture):
            return {"predicted_depth": torch.linspace(1, 4, 30 * 40).view(1, 30, 40)}

        estimate.model = SimpleNamespace(config=SimpleNamespace(depth_estimation_type="relative", model_type="x"))
        return estimate

    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(pipeline=pipeline))
    clip = read_clip(scene, "hub:someone/depth-small")
    assert asked == [("depth-estimation", "someone/depth-small")]
    assert clip.estimates.shape == (FRAMES, HEIGHT, WIDTH)
    torch.testing.assert_close(clip.estimates[0, 0, 0], torch.tensor(1.0))
    assert (clip.estimates[:, 0] > clip.estimates[:, -1]).all(), "what it says is inverse depth"
