"""PIZ is read as an encoder written from its description wrote it, and as another program reads it."""

import os
import struct

import numpy as np
import pytest
from tests.io.piz_encoder import encode

from rilievo.errors import UserError
from rilievo.io.exr import PIZ, _header, read_exr_rgb, write_exr_rgb
from rilievo.io.piz import decode_piz


def plain(channels: list[np.ndarray]) -> bytes:
    height = channels[0].shape[0]
    return np.concatenate([c.reshape(height, -1) for c in channels], axis=1).astype("<u2").tobytes()


@pytest.mark.parametrize("height", [1, 2, 7, 32])
@pytest.mark.parametrize("width", [1, 5, 64])
@pytest.mark.parametrize("halves", [[1], [2], [1, 2, 1]])
def test_numbers_come_back_for_every_size_and_kind_of_channel(height, width, halves):
    rng = np.random.default_rng(height * 100 + width)
    channels = [(rng.gamma(0.5, 300, (height, width, n)) % 65536).astype(np.uint16) for n in halves]
    assert decode_piz(encode(channels), height, width, halves) == plain(channels)


@pytest.mark.parametrize("runs", [False, True])
def test_long_runs_and_flat_chunks_come_back(runs):
    flat = [np.full((32, 40, 1), 15360, np.uint16), np.zeros((32, 40, 1), np.uint16)]
    assert decode_piz(encode(flat, runs=runs), 32, 40, [1, 1]) == plain(flat)


def test_more_than_two_to_the_fourteen_values_use_the_other_wavelet():
    many = [np.random.default_rng(0).permutation(1 << 16)[: 32 * 640].astype(np.uint16).reshape(32, 640, 1)]
    assert decode_piz(encode(many), 32, 640, [1]) == plain(many)


def write_piz(path, rgb: np.ndarray) -> None:
    """A file of half or float channels in chunks of 32 rows."""
    height, width, _ = rgb.shape
    parts = rgb.dtype.itemsize // 2
    chunks = []
    for y in range(0, height, 32):
        channels = [
            np.ascontiguousarray(rgb[y : y + 32, :, c]).view("<u2").reshape(-1, width, parts) for c in (2, 1, 0)
        ]
        coded, raw = encode(channels), plain(channels)
        stored = coded if len(coded) < len(raw) else raw
        chunks.append(struct.pack("<ii", y, len(stored)) + stored)
    header = _header(["B", "G", "R"], parts, PIZ, width, height)
    offsets = len(header) + 8 * len(chunks) + np.cumsum([0, *map(len, chunks[:-1])])
    path.write_bytes(header + offsets.astype("<u8").tobytes() + b"".join(chunks))


def panorama(dtype) -> np.ndarray:
    y, x = np.mgrid[:70, :90]
    sun = 40 * np.exp(-((x - 60) ** 2 + (y - 20) ** 2) / 30)
    return np.stack([0.2 + 0.01 * y + sun, 0.3 + 0.002 * x + sun, np.zeros(x.shape)], -1).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_picture_survives_bit_by_bit(tmp_path, dtype):
    write_piz(tmp_path / "a.exr", panorama(dtype))
    np.testing.assert_array_equal(read_exr_rgb(tmp_path / "a.exr"), panorama(dtype).astype(np.float32))


@pytest.mark.parametrize("at", [3, 8, 30, 60])
def test_damaged_chunks_are_told_in_a_sentence(tmp_path, at):
    path = tmp_path / "a.exr"
    write_piz(path, panorama(np.float16))
    content = bytearray(path.read_bytes())
    start = struct.unpack_from("<Q", content, len(_header(["B", "G", "R"], 1, PIZ, 90, 70)))[0] + 8
    content[start + at : start + at + 8] = b"\xff" * 8
    path.write_bytes(bytes(content[: start + 400]))
    with pytest.raises(UserError, match="expected an OpenEXR"):
        read_exr_rgb(path)


@pytest.mark.parametrize("name", ["envmap_train.exr", "envmap_relight.exr"])
def test_a_panorama_written_elsewhere_is_finite_light(shared, name, tmp_path):
    """A slip in a code or a wavelet leaves garbage behind, and neighbours that have nothing to do with each other.

    A few pixels beside bright lights are negative in these files: whoever resampled them let them ring.
    """
    path = shared / "scenes" / "knot_glossy" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    rgb = read_exr_rgb(path)
    assert rgb.shape[1] == 2 * rgb.shape[0]
    assert np.isfinite(rgb).all()
    assert (rgb < 0).mean() < 0.02
    level = np.log(np.maximum(rgb, 1e-3)).mean(-1)
    for axis in (0, 1):
        here, there = np.delete(level, 0, axis), np.delete(level, -1, axis)
        assert np.corrcoef(here.ravel(), there.ravel())[0, 1] > 0.5
    write_exr_rgb(tmp_path / "again.exr", rgb)
    np.testing.assert_array_equal(read_exr_rgb(tmp_path / "again.exr"), rgb)


def test_opencv_reads_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "OPENCV_IO_ENABLE_OPENEXR", "1")
    cv2 = pytest.importorskip("cv2")
    write_piz(tmp_path / "a.exr", panorama(np.float32))
    try:
        read = cv2.imread(str(tmp_path / "a.exr"), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        pytest.skip(f"OpenCV was imported without EXR: {error}")
    if read is None:
        pytest.skip("OpenCV was built without EXR")
    np.testing.assert_array_equal(read[..., ::-1], panorama(np.float32))
