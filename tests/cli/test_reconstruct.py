"""`rilievo reconstruct`: from photos to a mesh in one command, which goes on where it was stopped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rilievo.cli.align as verb
from rilievo.cli import main
from rilievo.io.mesh_file import read_mesh

QUICK = ["--preset", "smoke", "--steps", "8", "--resolution", "24"]


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("000", "001", "002", "003"):
        shutil.copy(shared / "scenes" / "room_photos" / "images" / f"{name}.png", folder)
    return folder


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "all"
    assert main(["reconstruct", str(photos), "-o", str(out), *QUICK, "--max-side", "320"]) == 0
    return out


def errors(capsys) -> list[str]:
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return [line for line in told.splitlines() if line.startswith("error: ")]


def test_photos_become_a_mesh(done):
    assert (done / "scene" / "transforms.json").is_file()
    assert (done / "run" / "config.yaml").is_file()
    assert len(read_mesh(done / "mesh.glb").faces) > 100


def test_what_is_there_is_not_made_again(done, photos):
    (done / "mesh.glb").unlink()
    (done / "run" / "done").unlink()
    times = {p: p.stat().st_mtime_ns for p in (done / "scene" / "transforms.json", *(done / "run").rglob("*.ckpt"))}
    assert main(["reconstruct", str(photos), "-o", str(done), *QUICK, "--max-side", "320"]) == 0
    assert (done / "mesh.glb").is_file()
    assert {p: p.stat().st_mtime_ns for p in times} == times


@pytest.mark.parametrize("extra", [["--turntable"], ["--method", "mast3r"], ["--max-side", "400"]], ids=" ".join)
def test_another_reconstruction_does_not_go_on_with_this_one(done, photos, capsys, extra):
    given = [] if "--max-side" in extra or "mast3r" in extra else ["--max-side", "320"]
    assert main(["reconstruct", str(photos), "-o", str(done), *QUICK, *given, *extra]) == 2
    [told] = errors(capsys)
    assert "another reconstruction" in told


def test_every_flag_of_align_reaches_it(photos, tmp_path, monkeypatch):
    asked = []

    def stop(aligning):
        asked.append(aligning)
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "run", stop)
    words = ["--method", "mast3r", "--method", "neus", "--weights", "w.pth", "--graph", "swin-3", "--fine-side", "800"]
    words += ["--masks", "m", "--mask-meaning", "ignore", "--turntable", "--device", "cpu", "--bfloat16", "--glb"]
    assert main(["reconstruct", str(photos), "-o", str(tmp_path / "out"), *words]) == 130
    [aligning] = asked
    assert (aligning.photos, aligning.output) == (photos, tmp_path / "out" / "scene")
    assert (aligning.method, aligning.device) == ("mast3r", "cpu")
    how = aligning.how
    assert (how.weights, how.graph, how.fine_side, how.bfloat16, how.glb) == ("w.pth", "swin-3", 800, True, True)
    assert (how.masks, how.mask_meaning, how.turntable) == (Path("m"), "ignore", True)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--method", "splat"], "--method: expected one of sfm, mast3r, dust3r to align by, or of"),
        (["--method", "nothing"], "--method: expected one of sfm, mast3r, dust3r"),
        (["--method", "sfm", "--method", "mast3r"], "expected one to align by and one for the surface"),
        (["--weights", "w.pth"], "--weights: expected --method mast3r or dust3r, got --method sfm"),
        (["--method", "mast3r", "--mapper", "global"], "--mapper: expected --method sfm, got --method mast3r"),
        (["--method", "dust3r", "--turntable"], "--turntable: expected --method sfm or mast3r"),
        (["--threads", "0"], "expected --threads >= 1"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_cannot_be_is_refused_before_anything_is_written(photos, tmp_path, capsys, extra, said):
    assert main(["reconstruct", str(photos), "-o", str(tmp_path / "new"), *extra]) == 2
    [told] = errors(capsys)
    assert said in told
    assert not (tmp_path / "new").exists()


def test_weights_that_are_not_there_are_told_and_another_command_may_follow(photos, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["reconstruct", str(photos), "-o", str(out)]
    assert main([*words, "--method", "mast3r", "--weights", str(tmp_path / "none.pth"), "--device", "cpu"]) == 2
    [told] = errors(capsys)
    assert "expected a .pth file" in told
    noise = tmp_path / "noise"
    noise.mkdir()
    for seed in (0, 1):
        pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((160, 120)).save(noise / f"{seed}.png")
    assert main(["reconstruct", str(noise), "-o", str(out)]) == 2
    [told] = errors(capsys)
    assert "overlapping" in told
    assert json.loads((out / "reconstruct.json").read_text())["photos"] == str(noise)


def test_photos_that_are_not_there_are_told(tmp_path, capsys):
    assert main(["reconstruct", str(tmp_path / "nowhere"), "-o", str(tmp_path / "new")]) == 2
    [told] = errors(capsys)
    assert "nothing there" in told
    assert not (tmp_path / "new").exists()
