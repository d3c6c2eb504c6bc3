"""OpenEXR: what is written is read, in each way of storing it, and by another program."""

import os
import struct

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.io.exr import read_exr, read_exr_rgb, write_exr, write_exr_rgb


def picture(height: int = 37, width: int = 21) -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 30, width, dtype=np.float32) + np.linspace(0, 2, height, dtype=np.float32)[:, None]
    return np.stack([smooth, rng.gamma(0.3, 5, (height, width)), np.zeros((height, width))], -1).astype(np.float32)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("height", [1, 16, 37])
def test_floats_survive_bit_by_bit(tmp_path, compress, height):
    rgb = picture(height)
    write_exr(tmp_path / "a.exr", {name: rgb[..., c] for c, name in enumerate("RGB")}, compress=compress)
    np.testing.assert_array_equal(read_exr_rgb(tmp_path / "a.exr"), rgb)


def test_half_keeps_eleven_bits(tmp_path):
    write_exr_rgb(tmp_path / "a.exr", picture(), half=True)
    np.testing.assert_array_equal(read_exr_rgb(tmp_path / "a.exr"), picture().astype(np.float16).astype(np.float32))


def test_channels_keep_their_names(tmp_path):
    depth = picture()[..., 0]
    write_exr(tmp_path / "a.exr", {"depth.Z": depth, "A": depth * 0 + 1})
    assert list(read_exr(tmp_path / "a.exr")) == ["A", "depth.Z"]
    with pytest.raises(UserError, match=r"channels R, G, B"):
        read_exr_rgb(tmp_path / "a.exr")


def test_smooth_pictures_shrink(tmp_path):
    flat = np.ones((64, 64, 3), np.float32)
    write_exr_rgb(tmp_path / "a.exr", flat)
    assert (tmp_path / "a.exr").stat().st_size < flat.nbytes / 20


def test_opencv_reads_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "OPENCV_IO_ENABLE_OPENEXR", "1")
    cv2 = pytest.importorskip("cv2")
    write_exr_rgb(tmp_path / "a.exr", picture())
    try:
        read = cv2.imread(str(tmp_path / "a.exr"), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        pytest.skip(f"OpenCV was imported without EXR: {error}")
    if read is None:
        pytest.skip("OpenCV was built without EXR")
    np.testing.assert_array_equal(read[..., ::-1], picture())


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda b: b"no picture" + b, "does not begin"),
        (lambda b: b[: len(b) // 2], "expected an OpenEXR"),
        (lambda b: b[:4] + struct.pack("<i", 2 | 0x200) + b[8:], "tiles"),
        (lambda b: b.replace(b"compression\0compression\0\1\0\0\0\3", b"compression\0compression\0\1\0\0\0\6"), "B44"),
        (lambda b: b[:-40] + bytes(40), "expected an OpenEXR"),
    ],
)
def test_a_damaged_or_foreign_file_is_told_in_a_sentence(tmp_path, spoil, told):
    path = tmp_path / "a.exr"
    write_exr_rgb(path, picture())
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match=told):
        read_exr(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match="nothing there"):
        read_exr(tmp_path / "none.exr")
