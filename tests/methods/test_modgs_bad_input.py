"""Clips that cannot be learned from, as a user meets them: one sentence, exit code 2, and nothing half written."""

import json
import shutil

import numpy as np
import pytest

from rilievo.cli import main
from rilievo.io.image import write_image

from .sliding_clip import FRAMES, HEIGHT, WIDTH, write_flows


def no_depth(clip):
    shutil.rmtree(clip / "depth_mono")


def depth_of_nan(clip):
    np.savez(clip / "depth_mono" / "003.npz", depth=np.full((HEIGHT, WIDTH), np.nan))


def no_flow(clip):
    """The clip as it is has none."""


def flow_of_another_size(clip):
    write_flows(clip)
    np.savez(clip / "flow_bwd" / "002.npz", flow=np.zeros((HEIGHT, WIDTH - 8, 2), np.float16))


def one_frame(clip):
    content = json.loads((clip / "cameras.json").read_text())
    content["frames"] = [dict(content["frames"][3], time=0.4)]
    (clip / "cameras.json").write_text(json.dumps(content))


def mask_that_marks_everything(clip):
    write_image(clip / "masks" / "002.png", np.full((HEIGHT, WIDTH), 255, np.uint8))


def mask_that_shows_nothing(clip):
    for i in range(FRAMES):
        value = 0 if i == 2 else 255
        write_image(clip / "masks" / f"{i:03d}.png", np.full((HEIGHT, WIDTH), value, np.uint8))


FILES = ("--clip.flow", "files")


@pytest.mark.parametrize(
    ("spoil", "flags", "said"),
    [
        (no_depth, (), "expected monocular depth of its frames"),
        (depth_of_nan, (), "003.npz: expected finite numbers above 0, got none"),
        (no_flow, FILES, "flow of frame 000"),
        (flow_of_another_size, FILES, "expected the size of its frame, 80x60 pixels, got 72x60"),
        (one_frame, (), "expected at least two training frames at different times, got 1 frame"),
        (mask_that_marks_everything, (), "got a mask that marks all of it as moving"),
        (mask_that_shows_nothing, ("--mask-meaning", "ignore"), "got a mask that covers all of it"),
        (no_flow, ("--clip.flow", "psychic"), "lucas-kanade"),
        (no_flow, ("--clip.flow", "raft"), "flow by RAFT"),
        (no_flow, ("--clip.depth", "nowhere"), "in nowhere/"),
    ],
)
def test_one_sentence_says_what_is_wrong_and_the_mended_command_finds_its_place_free(
    spoil, flags, said, spoiled, tmp_path, capsys
):
    spoil(spoiled)
    before = sorted(tmp_path.rglob("*"))
    assert main(["fit", "modgs", str(spoiled), "-o", str(tmp_path / "run"), "--preset", "smoke", *flags]) == 2
    told = capsys.readouterr().err
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, told
    assert "Traceback" not in told
    assert said in errors[0]
    assert sorted(tmp_path.rglob("*")) == before
