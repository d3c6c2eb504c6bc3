"""What an alignment leaves to look at, and new photos that are placed in it, through the command line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from rilievo.cli import main
from rilievo.data.load import load_scene
from rilievo.geometry import sim3, so3
from rilievo.geometry.alignment import align_cameras
from rilievo.io.mesh_file import read_mesh

from .asked import assert_one_sentence, told_by
from .oracle import OraclePredictor, round_room

ALIGNED = 5


@pytest.fixture(scope="module")
def world():
    return round_room(ALIGNED + 2, turn=1.4)


@pytest.fixture(scope="module")
def photos(world, tmp_path_factory) -> Path:
    """All photos; the scene is made of those in `old/`, the others are in `new/`."""
    folder = tmp_path_factory.mktemp("photos")
    world.write(folder / "old")
    (folder / "new").mkdir()
    for v in range(ALIGNED, ALIGNED + 2):
        (folder / "old" / f"{v:03d}.png").rename(folder / "new" / f"{v:03d}.png")
    return folder


@pytest.fixture(scope="module")
def scene(world, photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "scene"
    with pytest.MonkeyPatch.context() as patch:
        told_by(patch, OraclePredictor(world))
        words = ["--method", "mast3r", "--glb", "--fuse", "40"]
        assert main(["align", str(photos / "old"), "-o", str(out), *words]) == 0
    return out


def world_from_scene(folder: Path, world) -> torch.Tensor:
    scene = load_scene(folder)
    views = [int(Path(name).stem) for name in scene.names]
    return align_cameras(scene.cameras.world_from_cam.double(), world.world_from_cam[views])


def test_the_glb_shows_points_and_every_camera_with_its_photo(scene):
    shown = trimesh.load(scene / "scene.glb")
    kinds = [name.split()[0] for name in shown.geometry]
    assert (kinds.count("points"), kinds.count("photo"), kinds.count("camera")) == (1, ALIGNED, ALIGNED)


def test_the_fused_surface_is_the_room_and_the_ball_in_it(scene, world):
    mesh = read_mesh(scene / "fused.glb")
    S = world_from_scene(scene, world).numpy()
    radii = np.linalg.norm(np.asarray(mesh.vertices) @ S[:3, :3].T + S[:3, 3], axis=1)
    off = np.minimum(np.abs(radii - 1), np.abs(radii - 4))
    assert len(mesh.faces) > 200
    assert np.median(off) < 0.1
    assert mesh.colors is not None


def test_two_photos_are_placed_by_the_pair_viewer(world, tmp_path, monkeypatch, capsys):
    photos = world.write(tmp_path / "photos")
    for v in range(2, len(world.images)):
        (photos / f"{v:03d}.png").unlink()
    told_by(monkeypatch, OraclePredictor(world, descriptors=False))
    words = ["--method", "dust3r", "--glb"]
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), *words]) == 0
    assert "2 of 2 photos aligned" in capsys.readouterr().out
    found = load_scene(tmp_path / "out").cameras.world_from_cam.double()
    step, true = (torch.linalg.inv(poses[0]) @ poses[1] for poses in (found, world.world_from_cam))
    assert float(torch.rad2deg(so3.angle(step[:3, :3], true[:3, :3]))) < 1.5
    aside, straight = (pose[:3, 3] / pose[:3, 3].norm() for pose in (step, true))
    assert float(aside @ straight) > np.cos(np.deg2rad(5.0))
    assert (tmp_path / "out" / "scene.glb").is_file()


def test_new_photos_are_placed_where_they_were_taken(scene, photos, world, tmp_path, monkeypatch, capsys):
    told_by(monkeypatch, OraclePredictor(world))
    words = ["align", str(photos / "new"), "-o", str(tmp_path / "out"), "--method", "mast3r", "--onto", str(scene)]
    assert main(words) == 0
    assert "2 of 2 photos placed in the frame of" in capsys.readouterr().out
    placed = load_scene(tmp_path / "out")
    S = world_from_scene(scene, world)
    _, R, _ = sim3.split(S)
    for name, pose, K in zip(placed.names, placed.cameras.world_from_cam.double(), placed.cameras.K):
        true = world.world_from_cam[int(Path(name).stem)]
        assert float(torch.rad2deg(so3.angle(R @ pose[:3, :3], true[:3, :3]))) < 1.5
        assert float((sim3.apply(S, pose[:3, 3]) - true[:3, 3]).norm()) < 0.1  # the room is 8 across
        assert float(K[0, 0]) == pytest.approx(float(world.photo_K[0, 0]), rel=0.05)
    assert placed.points is not None
    assert not (tmp_path / "out" / ".align").exists()


def test_a_photo_of_something_else_has_no_place(scene, tmp_path, monkeypatch, capsys):
    elsewhere = round_room(8, seed=3)
    elsewhere.world_from_cam[7, :3, 3] += 100
    elsewhere.named[7] += 100
    everything = elsewhere.write(tmp_path / "photos")
    told_by(monkeypatch, OraclePredictor(elsewhere))
    words = ["--method", "mast3r", "--onto", str(scene)]
    assert main(["align", str(everything / "007.png"), "-o", str(tmp_path / "out"), *words]) == 2
    assert_one_sentence(capsys, "localisation: expected at least 12 matches")
    assert not (tmp_path / "out" / "transforms.json").exists()


def test_a_scene_without_depth_is_told_what_places_photos_all_the_same(
    scene, photos, world, tmp_path, monkeypatch, capsys
):
    bare = shutil.copytree(scene, tmp_path / "bare")
    shutil.rmtree(bare / "depth")
    told_by(monkeypatch, OraclePredictor(world))
    words = ["--method", "mast3r", "--onto", str(bare)]
    assert main(["align", str(photos / "new"), "-o", str(tmp_path / "out"), *words]) == 2
    assert_one_sentence(capsys, "or place the photos by --method sfm")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "dust3r", "--onto", "{scene}"], "--onto: expected --method sfm or mast3r"),
        (["--method", "mast3r", "--onto", "{scene}", "--glb"], "--glb: expected photos that are aligned anew"),
        (["--onto", "{scene}/nowhere"], "--onto: expected an aligned scene, got nothing"),
        (["--glb"], "--glb: expected --method mast3r or dust3r"),
        (["--method", "mast3r", "--fuse", "1"], "--fuse: expected at least 8, got 1"),
    ],
)
def test_flags_that_do_not_go_together_are_answered_with_one_sentence(scene, photos, tmp_path, capsys, words, said):
    words = [word.format(scene=scene) for word in words]
    assert main(["align", str(photos / "new"), "-o", str(tmp_path / "out"), *words]) == 2
    assert_one_sentence(capsys, said)
    assert not (tmp_path / "out").exists()
