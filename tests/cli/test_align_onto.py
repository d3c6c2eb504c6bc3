"""`rilievo align PHOTO --onto SCENE`: new photos placed by their features, and sentences for those that cannot be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.cli import main
from rilievo.data.load import load_scene
from rilievo.geometry import sim3, so3
from rilievo.geometry.alignment import align_cameras

QUICK = ("--max-side", "320")
NAMES = ("000", "001", "002", "003")
NEW = "004"


@pytest.fixture(scope="module")
def truth(shared) -> Path:
    return shared / "scenes" / "room_photos"


@pytest.fixture(scope="module")
def scene(truth, tmp_path_factory) -> Path:
    """Four photos with their true cameras, as a scene folder."""
    folder = tmp_path_factory.mktemp("onto")
    (folder / "photos").mkdir()
    for name in NAMES:
        (folder / "photos" / f"{name}.png").write_bytes((truth / "images" / f"{name}.png").read_bytes())
    words = ["--poses", str(truth), "--intrinsics", str(truth / "cameras.json"), *QUICK]
    assert main(["align", str(folder / "photos"), "-o", str(folder / "scene"), *words]) == 0
    return folder / "scene"


@pytest.mark.parametrize("lens", ["shared", "unknown"])
def test_a_new_photo_is_placed_where_it_was_taken(scene, truth, tmp_path, capsys, lens):
    words = ["--onto", str(scene), *QUICK, *(["--lenses", "each"] if lens == "unknown" else [])]
    assert main(["align", str(truth / "images" / f"{NEW}.png"), "-o", str(tmp_path / "out"), *words]) == 0
    assert "1 of 1 photos placed in the frame of" in capsys.readouterr().out
    placed, true = load_scene(tmp_path / "out"), load_scene(truth)
    [pose], there = placed.cameras.world_from_cam.double(), true.cameras[[Path(n).stem for n in true.names].index(NEW)]
    S = align_cameras(load_scene(scene).cameras.world_from_cam.double(), true.cameras.world_from_cam[: len(NAMES)])
    extent = 2 * (true.cameras.centers - true.cameras.centers.mean(0)).norm(dim=1).max()
    _, R, _ = sim3.split(S)
    assert float(torch.rad2deg(so3.angle(R @ pose[:3, :3], there.world_from_cam[0, :3, :3]))) < 0.5
    assert float((sim3.apply(S, pose[:3, 3]) - there.centers[0]).norm() / extent) < 0.01
    assert float(placed.cameras.K[0, 0, 0]) == pytest.approx(float(there.K[0, 0, 0]), rel=0.02)


def test_photos_of_something_else_are_told_in_one_sentence(scene, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((480, 360), Image.Resampling.BICUBIC).save(tmp_path / "noise.png")
    assert main(["align", str(tmp_path / "noise.png"), "-o", str(tmp_path / "out"), "--onto", str(scene), *QUICK]) == 2
    [told] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "localisation: expected at least 12 matches" in told
    assert not (tmp_path / "out" / "transforms.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--turntable"], "--turntable: expected photos that are aligned anew"),
        (["--poses", "x.json"], "--poses: expected photos that are aligned anew"),
    ],
)
def test_flags_of_aligning_anew_are_refused(scene, truth, tmp_path, capsys, words, said):
    photo = str(truth / "images" / f"{NEW}.png")
    assert main(["align", photo, "-o", str(tmp_path / "out"), "--onto", str(scene), *words]) == 2
    [told] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said in told
