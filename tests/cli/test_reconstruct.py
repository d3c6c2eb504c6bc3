"""`rilievo reconstruct`: from photos to a mesh in one command, which goes on where it was stopped."""

import shutil
from pathlib import Path

import pytest

from rilievo.cli import main
from rilievo.io.mesh_file import read_mesh

QUICK = ["--preset", "smoke", "--steps", "8", "--resolution", "24"]


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("000", "001", "002", "003", "004"):
        shutil.copy(shared / "scenes" / "room_photos" / "images" / f"{name}.png", folder)
    return folder


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "all"
    assert main(["reconstruct", str(photos), "-o", str(out), *QUICK]) == 0
    return out


def test_photos_become_a_mesh(done):
    assert (done / "scene" / "transforms.json").is_file()
    assert (done / "run" / "config.yaml").is_file()
    assert len(read_mesh(done / "mesh.glb").faces) > 100


def test_what_is_there_is_not_made_again(done, photos):
    (done / "mesh.glb").unlink()
    (done / "run" / "done").unlink()
    times = {p: p.stat().st_mtime_ns for p in (done / "scene" / "transforms.json", *(done / "run").rglob("*.ckpt"))}
    assert main(["reconstruct", str(photos), "-o", str(done), *QUICK]) == 0
    assert (done / "mesh.glb").is_file()
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_another_reconstruction_does_not_go_on_with_this_one(done, photos, capsys):
    assert main(["reconstruct", str(photos), "-o", str(done), *QUICK, "--turntable"]) == 2
    assert "another reconstruction" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [(["--method", "splat"], "--method"), (["--method", "nothing"], "--method")],
    ids=["no mesh", "none"],
)
def test_a_method_without_meshes_is_refused_before_anything_is_written(photos, tmp_path, capsys, extra, said):
    assert main(["reconstruct", str(photos), "-o", str(tmp_path / "new"), *extra]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_photos_that_are_not_there_are_told(tmp_path, capsys):
    assert main(["reconstruct", str(tmp_path / "nowhere"), "-o", str(tmp_path / "new")]) == 2
    assert "nothing there" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
