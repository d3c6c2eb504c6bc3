"""Bad captures and bad wishes, from the command line to the end: exit code 2, one sentence, nothing left behind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.cli import main
from rilievo.demo.capture import write_capture
from rilievo.engine.method import available


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("captures") / "amphora"
    write_capture(folder, views=9, size_px=24)
    return folder


@pytest.fixture
def capture(pristine, tmp_path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(pristine, tmp_path / "amphora")


def fit(capture: Path, run: Path, *flags: str) -> int:
    return main(["fit", "neus", str(capture), "-o", str(run), "--preset", "smoke", "--steps", "1", *flags])


def assert_one_sentence(capsys, *said: str) -> None:
    told = capsys.readouterr().err
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, told
    assert "Traceback" not in told
    for words in said:
        assert words in errors[0]


def edit(capture: Path, change) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    change(content)
    (capture / "transforms.json").write_text(json.dumps(content))


def empty_folder(capture: Path) -> None:
    shutil.rmtree(capture)
    capture.mkdir()


def no_folder(capture: Path) -> None:
    shutil.rmtree(capture)


def mask_of_another_size(capture: Path) -> None:
    (capture / "masks").mkdir()
    for path in (capture / "images").iterdir():
        rgba = Image.open(path)
        rgba.convert("RGB").save(path)
        size = (24, 24) if path.stem != "0003" else (17, 24)
        Image.fromarray(np.full(size[::-1], 255, np.uint8)).save(capture / "masks" / path.name)


def k_of_another_resolution(capture: Path) -> None:
    edit(capture, lambda content: content.update(w=640, h=480, fl_x=600, fl_y=600, cx=320, cy=240))


def principal_point_outside(capture: Path) -> None:
    edit(capture, lambda content: content.update(cx=320, cy=240))


def broken_json(capture: Path) -> None:
    text = (capture / "transforms.json").read_text()
    (capture / "transforms.json").write_text(text[: len(text) // 2])


def every_pose_nan(capture: Path) -> None:
    def change(content):
        for frame in content["frames"]:
            frame["transform_matrix"][0][3] = float("nan")

    edit(capture, change)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (empty_folder, "amphora"),
        (no_folder, "amphora"),
        (mask_of_another_size, "0003"),
        (k_of_another_resolution, "640x480"),
        (principal_point_outside, "principal point"),
        (broken_json, "transforms.json"),
        (every_pose_nan, "finite"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("verb", ["fit", "convert"])
def test_a_capture_that_cannot_be_right_is_refused(capture, tmp_path, capsys, spoil, said, verb):
    spoil(capture)
    before = sorted(tmp_path.rglob("*"))
    if verb == "fit":
        assert fit(capture, tmp_path / "run") == 2
    else:
        assert main(["convert", str(capture), "-o", str(tmp_path / "run"), "--to", "colmap"]) == 2
    assert_one_sentence(capsys, said)
    assert sorted(tmp_path.rglob("*")) == before


def one_pose_nan(capture: Path) -> None:
    edit(capture, lambda content: content["frames"][2]["transform_matrix"][1].__setitem__(1, float("nan")))


def one_photo_corrupt(capture: Path) -> None:
    """A JPEG that ends in the middle, among whole ones."""
    for path in sorted((capture / "images").iterdir()):
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"))
        path.unlink()

    def change(content):
        for frame in content["frames"]:
            frame["file_path"] = frame["file_path"].replace(".png", ".jpg")
        for split in ("train_filenames", "test_filenames"):
            content[split] = [name.replace(".png", ".jpg") for name in content[split]]

    edit(capture, change)
    broken = capture / "images" / "0002.jpg"
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])


@pytest.mark.parametrize("spoil", [one_pose_nan, one_photo_corrupt], ids=lambda f: f.__name__)
def test_one_bad_frame_is_dropped_and_told_and_the_others_are_learned_from(capture, tmp_path, capsys, spoil):
    spoil(capture)
    assert fit(capture, tmp_path / "run") == 0
    told = capsys.readouterr().out
    assert "8 views" in told
    assert "dropped 1 of 9 frames" in told
    assert "0002" in told
    assert (tmp_path / "run" / "checkpoints" / "step-1.ckpt").is_file()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--steps", "0"], "steps: expected at least 1, got 0"),
        (["--steps", "-3"], "steps: expected at least 1, got -3"),
        (["--preset", "slow"], "expected one of fast, paper, smoke"),
        (["--downscale", "0"], "downscale"),
        (["--region", "0", "0", "0", "-1"], "region"),
        (["--holdout", "-1"], "holdout"),
        pytest.param(
            ["--device", "cuda"],
            "CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU"),
        ),
    ],
    ids=lambda value: value[0] + value[-1] if isinstance(value, list) else "",
)
def test_a_wish_that_makes_no_sense_is_refused_before_anything_is_written(capture, tmp_path, capsys, flags, said):
    assert fit(capture, tmp_path / "run", *flags) == 2
    assert_one_sentence(capsys, said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags", [["--fit.rays", "0"], ["--fit.rays", "many"], ["--fit.raze", "3"]], ids=" ".join)
def test_a_flag_that_cannot_be_read_is_explained_and_nothing_is_written(capture, tmp_path, capsys, flags):
    with pytest.raises(SystemExit) as ended:
        fit(capture, tmp_path / "run", *flags)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert flags[0] in told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_an_unknown_method_is_refused(capture, tmp_path, capsys):
    assert main(["fit", "splats", str(capture), "-o", str(tmp_path / "run")]) == 2
    assert_one_sentence(capsys, f"METHOD: expected one of {', '.join(available())}, got splats")
    assert not (tmp_path / "run").exists()


def test_a_place_under_a_file_cannot_be_written(capture, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert fit(capture, tmp_path / "file" / "run") == 2
    assert_one_sentence(capsys, "file")
    assert (tmp_path / "file").read_text() == ""


def test_a_file_system_that_takes_no_files_is_said_to(capture, capsys):
    assert fit(capture, Path("/proc/rilievo")) == 2
    assert_one_sentence(capsys, "cannot write", "/proc/rilievo")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("{steps: 1,", "{steps: 1, stops: 2,", "stops"), ("{steps: 1,", "{steps: soon,", "steps")],
    ids=["unknown key", "wrong type"],
)
def test_a_run_folder_with_damaged_settings_is_refused_by_every_verb(capture, tmp_path, capsys, old, new, said):
    run = tmp_path / "run"
    assert fit(capture, run) == 0
    text = (run / "config.yaml").read_text()
    assert text.count(old) == 1
    (run / "config.yaml").write_text(text.replace(old, new))
    capsys.readouterr()
    film = str(tmp_path / "film.mp4")
    for command in (["mesh", str(run)], ["evaluate", str(run)], ["render", str(run), "-o", film]):
        assert main(command) == 2
        assert_one_sentence(capsys, "config.yaml", said)
    assert fit(capture, run, "--resume") == 2
    assert_one_sentence(capsys, "config.yaml", said)
    assert not (tmp_path / "film.mp4").exists()
