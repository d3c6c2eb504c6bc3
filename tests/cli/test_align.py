"""`rilievo align` from photos to a scene that loads and is right, and the sentences for photos that cannot be."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rilievo.cli import main
from rilievo.data.load import load_scene

QUICK = ("--max-side", "360")
NAMES = ("000", "001", "002", "003", "004")


@pytest.fixture(scope="module")
def room(shared, tmp_path_factory) -> Path:
    """Five photos of a room; the second lies on its side, as phones store them, and says so in its EXIF."""
    folder = tmp_path_factory.mktemp("room")
    for name in NAMES:
        image = Image.open(shared / "scenes" / "room_photos" / "images" / f"{name}.png").convert("RGB")
        if name == "001":
            exif = Image.Exif()
            exif[0x0112] = 6
            image.transpose(Image.Transpose.ROTATE_90).save(folder / f"{name}.jpg", quality=97, exif=exif)
        else:
            image.save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def aligned(room, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("aligned") / "scene"
    assert main(["align", str(room), "-o", str(out)]) == 0
    return out


def assert_one_sentence(capsys, *said: str) -> None:
    told = capsys.readouterr().err
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, told
    assert "Traceback" not in told
    for words in said:
        assert words in errors[0], errors[0]


def noise(path: Path, seed: int, size=(160, 120)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)


def test_an_aligned_scene_is_close_to_the_truth_and_whole(aligned, shared, tmp_path, capsys):
    reference = shared / "scenes" / "room_photos" / "cameras.json"
    assert main(["evaluate", str(aligned), "--reference", str(reference), "-o", str(tmp_path / "m.json")]) == 0
    cameras = json.loads((tmp_path / "m.json").read_text())["cameras"]
    assert cameras["rotation_deg"] < 0.3
    assert cameras["center_percent"] < 0.5
    scene = load_scene(aligned)
    assert len(scene) == len(NAMES)
    assert scene.points is not None
    assert {tuple(size) for size in scene.cameras.sizes_px.tolist()} == {(480, 360)}
    assert sorted(p.name for p in aligned.iterdir()) == ["images", "points.ply", "transforms.json"]


def test_the_same_photos_give_the_same_cameras(aligned, room, tmp_path):
    assert main(["align", str(room), "-o", str(tmp_path / "again"), "--threads", "1"]) == 0
    first, second = (load_scene(p).cameras.world_from_cam.numpy() for p in (aligned, tmp_path / "again"))
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_known_poses_and_intrinsics_are_kept(room, shared, tmp_path):
    truth = shared / "scenes" / "room_photos"
    f = json.loads((truth / "cameras.json").read_text())["frames"][0]["K"][0][0]
    flags = ["--poses", str(truth), "--intrinsics", f"{f},{f},240,180"]
    assert main(["align", str(room), "-o", str(tmp_path / "out"), *flags]) == 0
    found, true = load_scene(tmp_path / "out"), load_scene(truth)
    np.testing.assert_allclose(found.cameras.world_from_cam, true.cameras.world_from_cam[: len(NAMES)], atol=1e-9)
    np.testing.assert_allclose(found.cameras.K[0, 0, 0], f)
    assert found.points is not None
    assert len(found.points.xyz) > 50


def test_an_interrupted_run_goes_on_and_leaves_nothing_half_written(room, tmp_path, monkeypatch, capsys):
    import rilievo.sfm.align as stages

    def stop(*arguments):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(stages, "map_photos", stop)
        assert main(["align", str(room), "-o", str(out), *QUICK]) == 130
    assert "goes on" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == [".align"]
    database = next((out / ".align").glob("*/features.db"))
    before = database.stat().st_size
    with monkeypatch.context() as patched:
        patched.setattr(stages, "map_photos", stop)
        assert main(["align", str(room), "-o", str(out), *QUICK]) == 130
    assert database.stat().st_size == before
    assert main(["align", str(room), "-o", str(out), *QUICK]) == 0
    assert (out / "transforms.json").is_file()


def test_what_cannot_take_part_is_dropped_and_told(room, tmp_path, capsys):
    photos = shutil.copytree(room, tmp_path / "photos")
    (photos / "broken.jpg").write_bytes((photos / "001.jpg").read_bytes()[:5000])
    shutil.copyfile(photos / "002.png", photos / "copy.png")
    noise(photos / "other.png", 0, (120, 160))
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), *QUICK]) == 0
    told = capsys.readouterr().out
    assert "5 of 6 photos aligned" in told
    assert "dropped broken.jpg: it cannot be read" in told
    assert "dropped copy.png: it is the same file as 002.png" in told
    assert "dropped other.png" in told


def one_photo(folder: Path) -> list[str]:
    noise(folder / "a.png", 0)
    return []


def two_identical_photos(folder: Path) -> list[str]:
    noise(folder / "a.png", 0)
    shutil.copyfile(folder / "a.png", folder / "b.png")
    return []


def photos_without_overlap(folder: Path) -> list[str]:
    for i in range(3):
        noise(folder / f"{i}.png", i, (160 + 8 * i, 120))
    return []


def mask_without_its_photo(folder: Path) -> list[str]:
    (folder / "masks").mkdir()
    for name in ("a", "b"):
        noise(folder / f"{name}.png", ord(name))
    for name in ("a", "b", "ghost"):
        Image.new("L", (160, 120), 255).save(folder / "masks" / f"{name}.png")
    return ["--masks", str(folder / "masks")]


def mask_of_another_size(folder: Path) -> list[str]:
    flags = mask_without_its_photo(folder)
    (folder / "masks" / "ghost.png").unlink()
    Image.new("L", (80, 60), 255).save(folder / "masks" / "b.png")
    return flags


def photo_without_its_mask(folder: Path) -> list[str]:
    flags = mask_without_its_photo(folder)
    (folder / "masks" / "ghost.png").unlink()
    (folder / "masks" / "b.png").unlink()
    return flags


def intrinsics_of_another_size(folder: Path) -> list[str]:
    photos_without_overlap(folder)
    for i in range(3):
        noise(folder / f"{i}.png", i)
    return ["--intrinsics", "900,900,960,540"]


def no_photos(folder: Path) -> list[str]:
    return []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (one_photo, "at least two different photos"),
        (two_identical_photos, "b.png: it is the same file as a.png"),
        (photos_without_overlap, "overlapping"),
        (mask_without_its_photo, "mask ghost.png"),
        (mask_of_another_size, "80x60"),
        (photo_without_its_mask, "none for b.png"),
        (intrinsics_of_another_size, "principal point inside"),
        (no_photos, "a folder of photos"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_photos_that_cannot_be_aligned_are_answered_with_one_sentence(tmp_path, capsys, spoil, said):
    photos = tmp_path / "photos"
    photos.mkdir()
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), *spoil(photos)]) == 2
    assert_one_sentence(capsys, said)
    assert not (tmp_path / "out" / "transforms.json").exists()


def test_a_scene_that_is_there_is_not_overwritten(aligned, room, capsys):
    assert main(["align", str(room), "-o", str(aligned)]) == 2
    assert_one_sentence(capsys, "empty folder")
