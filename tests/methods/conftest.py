"""Captures small enough to learn from in seconds, and what the tests of every method do with them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rilievo.cli import main
from rilievo.demo.capture import write_capture
from rilievo.engine.run import Run, open_run
from rilievo.io.image import write_image

from .sliding_clip import write_clip

Fit = Callable[..., Run]


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine photographs of the demo's amphora, cut out, 40 pixels wide, one of them held out."""
    folder = tmp_path_factory.mktemp("captures") / "amphora"
    write_capture(folder, views=9, size_px=40)
    return folder


@pytest.fixture(scope="session")
def moved_capture(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photographs in a frame 2.5 times as fine with its origin elsewhere: x ↦ 2.5 x + (10, -4, 3)."""
    folder = shutil.copytree(capture, tmp_path_factory.mktemp("captures") / "moved")
    content = json.loads((folder / "transforms.json").read_text())
    for frame in content["frames"]:
        pose = np.array(frame["transform_matrix"])
        pose[:3, 3] = 2.5 * pose[:3, 3] + [10, -4, 3]
        frame["transform_matrix"] = pose.tolist()
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def uncut_capture(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photographs without alpha: the object before a grey wall."""
    folder = shutil.copytree(capture, tmp_path_factory.mktemp("captures") / "uncut")
    for path in (folder / "images").iterdir():
        rgba = np.asarray(Image.open(path)).astype(float)
        alpha = rgba[..., 3:] / 255
        write_image(path, (rgba[..., :3] * alpha + 128 * (1 - alpha)).astype(np.uint8))
    return folder


@pytest.fixture(scope="session")
def fit(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """Fit the smoke preset through the command line: fit(method, capture, *flags)."""

    def fit(method: str, scene: Path, *flags: str) -> Run:
        folder = tmp_path_factory.mktemp(method) / "run"
        assert main(["fit", method, str(scene), "-o", str(folder), "--preset", "smoke", *flags]) == 0
        return open_run(folder, device="cpu")

    return fit


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip whose masks mark what moves; do not write to it."""
    folder = tmp_path_factory.mktemp("clips") / "sliding"
    write_clip(folder, masks=True)
    return folder


@pytest.fixture(scope="session")
def unmarked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without masks."""
    folder = tmp_path_factory.mktemp("clips") / "unmarked"
    write_clip(folder, masks=False)
    return folder


@pytest.fixture
def spoiled(clip_folder: Path, tmp_path: Path) -> Path:
    """A copy of the clip, to spoil."""
    return shutil.copytree(clip_folder, tmp_path / "spoiled")
