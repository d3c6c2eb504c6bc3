"""Radiance pictures."""

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.io.radiance_hdr import decode_rgbe, encode_rgbe, read_hdr, write_hdr


def picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    rgb = rng.gamma(0.2, 20, (height, width, 3)).astype(np.float32)
    rgb[:, : width // 2] = rgb[:, :1]  # something to pack
    rgb[0] = 0
    return rgb


@pytest.mark.parametrize(("height", "width"), [(5, 3), (9, 40), (4, 700)])
def test_a_picture_survives_to_a_256th_of_its_brightest_channel(tmp_path, height, width):
    rgb = picture(height, width)
    write_hdr(tmp_path / "a.hdr", rgb)
    read = read_hdr(tmp_path / "a.hdr")
    assert (np.abs(read - rgb) <= rgb.max(-1, keepdims=True) / 256).all()
    write_hdr(tmp_path / "b.hdr", read)
    np.testing.assert_array_equal(read_hdr(tmp_path / "b.hdr"), read)


def test_the_whole_range_of_exponents_is_coded():
    values = np.array([1e-33, 1e-30, 1e-3, 1, 255, 256, 1e20, 3e38], np.float32)
    rgb = np.repeat(values[None, :, None], 3, -1)
    read = decode_rgbe(encode_rgbe(rgb))
    assert (read[0, 0] == 0).all()
    np.testing.assert_allclose(read[:, 1:-1], rgb[:, 1:-1], rtol=1 / 256)


def test_opencv_reads_the_same(tmp_path):
    cv2 = pytest.importorskip("cv2")
    rgb = picture(9, 40)
    write_hdr(tmp_path / "a.hdr", rgb)
    read = cv2.imread(str(tmp_path / "a.hdr"), cv2.IMREAD_UNCHANGED)
    if read is None:
        pytest.skip("OpenCV was built without Radiance HDR")
    assert (np.abs(read[..., ::-1] - rgb) <= rgb.max(-1, keepdims=True) / 128).all()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda b: b"x" + b, "does not begin"),
        (lambda b: b[:-30], "expected a Radiance"),
        (lambda b: b.replace(b"-Y 9", b"+Y 9"), "size line"),
        (lambda b: b.replace(b"rgbe", b"xyze"), "XYZ"),
    ],
)
def test_a_damaged_or_foreign_file_is_told_in_a_sentence(tmp_path, spoil, told):
    path = tmp_path / "a.hdr"
    write_hdr(path, picture(9, 40))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match=told):
        read_hdr(path)


def test_exposure_is_divided_out(tmp_path):
    path = tmp_path / "a.hdr"
    write_hdr(path, picture(9, 40))
    plain = read_hdr(path)
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\nEXPOSURE=2.0\n\n", 1))
    np.testing.assert_allclose(read_hdr(path), plain / 2)
