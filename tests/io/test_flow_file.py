"""Flow files: what is written is read, published files are read, broken ones are refused by name."""

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.io.flow_file import read_flow, write_flow


@pytest.fixture
def flow():
    return np.random.default_rng(0).uniform(-60, 60, (7, 11, 2)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".flo", ".npz", ".npy"])
def test_a_flow_that_is_written_is_read_back_exactly(tmp_path, flow, suffix):
    valid = np.random.default_rng(1).random((7, 11)) < 0.8
    write_flow(tmp_path / f"a{suffix}", flow, valid)
    back = read_flow(tmp_path / f"a{suffix}", size_px=(11, 7))
    np.testing.assert_array_equal(back.valid, valid)
    np.testing.assert_array_equal(back.flow[valid], flow[valid])


def test_kitti_keeps_a_sixty_fourth_of_a_pixel(tmp_path, flow):
    valid = np.random.default_rng(1).random((7, 11)) < 0.8
    write_flow(tmp_path / "a.png", flow, valid)
    back = read_flow(tmp_path / "a.png")
    np.testing.assert_array_equal(back.valid, valid)
    assert np.abs(back.flow - flow).max() <= 1 / 128 + 1e-6


def test_packed_visibility_is_unpacked_to_the_width(tmp_path, flow):
    visible = np.random.default_rng(2).random((7, 11)) < 0.5
    np.savez(tmp_path / "a.npz", flow=flow.astype(np.float16), visible=np.packbits(visible, axis=1))
    np.testing.assert_array_equal(read_flow(tmp_path / "a.npz").valid, visible)


def test_a_flow_of_another_size_is_refused_with_both_sizes(tmp_path, flow):
    write_flow(tmp_path / "a.flo", flow)
    with pytest.raises(UserError, match=r"20x10.*11x7"):
        read_flow(tmp_path / "a.flo", size_px=(20, 10))


@pytest.mark.parametrize(
    "content", [b"", b"PIEH", b"PIEH" + bytes(8), b"PIEH" + np.array([4, 4], "<i4").tobytes() + bytes(9)]
)
def test_a_damaged_flo_is_refused_by_name(tmp_path, content):
    (tmp_path / "broken.flo").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.flo"):
        read_flow(tmp_path / "broken.flo")


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.png", "a.flo", "a.exr"])
def test_a_missing_or_unknown_file_is_a_users_mistake(tmp_path, name):
    with pytest.raises(UserError, match=name):
        read_flow(tmp_path / name)


@pytest.mark.golden
def test_published_flow_files(shared, tmp_path):
    folder = shared / "golden" / "dynamic"
    arrays = np.load(folder / "flow.npz")
    stored = read_flow(folder / "flow_example.flo")
    np.testing.assert_array_equal(stored.flow, arrays["flo/flow"])
    write_flow(tmp_path / "again.flo", stored.flow)
    written = (tmp_path / "again.flo").read_bytes()
    assert written == (folder / "flow_example.flo").read_bytes()
    np.testing.assert_array_equal(np.frombuffer(written[:12], np.uint8), arrays["flo/header_bytes"])
    kitti = read_flow(folder / "flow_example_kitti.png")
    np.testing.assert_array_equal(kitti.flow, arrays["kitti/flow_decoded"])
    np.testing.assert_array_equal(kitti.valid, arrays["kitti/valid"] > 0)
