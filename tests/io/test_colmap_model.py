"""COLMAP models are the same as text and as bytes, and lenses map onto ours and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rilievo.errors import UserError
from rilievo.io.colmap_binary import read_binary, write_binary
from rilievo.io.colmap_lens import FOREIGN_MODELS, MODELS, Lens, lens_of, model_by_id, model_by_name, model_of
from rilievo.io.colmap_model import ColmapCamera, ColmapImage, ColmapModel, quaternion_of, rotation_of
from rilievo.io.colmap_text import read_text, write_text_model


@pytest.fixture
def model():
    rng = np.random.default_rng(0)
    cameras = {
        i + 1: ColmapCamera(i + 1, kind, 640, 480, tuple(rng.normal(size=len(kind.parameters)).tolist()))
        for i, kind in enumerate(MODELS)
    }
    images = []
    for i in range(5):
        q = rng.normal(size=4)
        images.append(ColmapImage(10 + i, q / np.linalg.norm(q), rng.normal(size=3), 1 + i, f"left cam/im {i}.jpg"))
    points = rng.normal(size=(7, 3))
    return ColmapModel(cameras, tuple(images), points, rng.integers(0, 256, (7, 3), dtype=np.uint8))


def same(a: ColmapModel, b: ColmapModel) -> None:
    assert a.cameras == b.cameras
    for mine, theirs in zip(a.images, b.images, strict=True):
        assert (mine.id, mine.camera_id, mine.name) == (theirs.id, theirs.camera_id, theirs.name)
        np.testing.assert_array_equal(mine.quaternion, theirs.quaternion)
        np.testing.assert_array_equal(mine.translation, theirs.translation)
    np.testing.assert_array_equal(a.points, b.points)
    np.testing.assert_array_equal(a.colors, b.colors)


def test_bytes_give_back_the_model(tmp_path, model):
    write_binary(tmp_path, model)
    (tmp_path / "rigs.bin").write_bytes(b"of newer versions")
    same(read_binary(tmp_path), model)


def test_text_gives_back_the_model_with_all_digits(tmp_path, model):
    write_text_model(tmp_path, model)
    same(read_text(tmp_path), model)


def test_text_with_features_and_comments_is_read(tmp_path):
    (tmp_path / "cameras.txt").write_text("# a comment\n1 SIMPLE_PINHOLE 64 48 50 32 24\n")
    line = "1 1 0 0 0 0 0 1 1 a b.png\n"
    (tmp_path / "images.txt").write_text(f"# head\n{line}10.5 20.5 -1 3 4 7\n2{line[1:]}\n")
    model = read_text(tmp_path)
    assert [image.name for image in model.images] == ["a b.png", "a b.png"]
    assert model.points.shape == (0, 3)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
def test_truncated_bytes_are_named(tmp_path, model, name):
    write_binary(tmp_path, model)
    whole = (tmp_path / name).read_bytes()
    for size in (0, 5, 12, len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:size])
        with pytest.raises(UserError, match=name):
            read_binary(tmp_path)


@pytest.mark.parametrize(("number", "name"), [(number, name) for number, (name, _) in FOREIGN_MODELS.items()])
def test_lenses_that_are_not_ours_ask_to_be_undistorted(number, name):
    for find, key in ((model_by_id, number), (model_by_name, name)):
        with pytest.raises(UserError, match=f"{name}.*undistort"):
            find(key)


def test_malformed_text_is_told_with_its_line(tmp_path):
    (tmp_path / "cameras.txt").write_text("# head\n1 PINHOLE wide 48 50 50 32 24\n")
    (tmp_path / "images.txt").write_text("")
    with pytest.raises(UserError, match="line 2"):
        read_text(tmp_path)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_every_lens_of_ours_comes_back_from_the_model_that_holds_it(model):
    lens = lens_of(model, np.linspace(0.1, 0.9, len(model.parameters)).tolist())
    again = lens_of(*model_of(lens))
    np.testing.assert_array_equal(again.K, lens.K)
    np.testing.assert_array_equal(again.distortion, lens.distortion)
    assert again.fisheye == lens.fisheye


def test_full_opencv_puts_its_parameters_where_opencv_does():
    lens = lens_of(model_by_name("FULL_OPENCV"), [1.0, 2.0, 3.0, 4.0, 0.1, 0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6])
    np.testing.assert_array_equal(lens.distortion, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.01, 0.02])
    assert model_of(Lens(lens.K, np.zeros(8), False))[0].name == "PINHOLE"


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_rotations_and_quaternions_are_inverse(q):
    q = np.array(q) / np.linalg.norm(q)
    R = rotation_of(q)
    np.testing.assert_allclose(R, Rotation.from_quat(q, scalar_first=True).as_matrix(), atol=1e-12)
    back = quaternion_of(R)
    assert back[0] >= 0
    assert abs(abs(back @ q) - 1) < 1e-12
