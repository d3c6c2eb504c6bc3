"""Pictures survive their files, and broken files are named."""

import numpy as np
import pytest
from PIL import Image

from rilievo.errors import UserError
from rilievo.io.image import read_alpha, read_color, read_gray, read_header, write_image


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_gives_back_every_pixel(tmp_path, channels):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    write_image(tmp_path / "a.png", pixels[..., 0] if channels == 1 else pixels)
    color = read_color(tmp_path / "a.png")
    np.testing.assert_array_equal(color, np.broadcast_to(pixels[..., : min(3, channels)], (5, 7, 3)))
    alpha = read_alpha(tmp_path / "a.png")
    np.testing.assert_array_equal(alpha, pixels[..., 3] if channels == 4 else np.full((5, 7), 255))


def test_exif_orientation_turns_the_photo_upright_unless_told_not_to(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn a quarter clockwise to view
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    header = read_header(tmp_path / "a.png")
    assert (header.size_px, header.stored_size_px, header.upright) == ((5, 7), (7, 5), False)
    np.testing.assert_array_equal(read_color(tmp_path / "a.png"), np.rot90(pixels, -1))
    np.testing.assert_array_equal(read_color(tmp_path / "a.png", orient=False), pixels)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    wide = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(wide).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_gray(tmp_path / "a.png"), [[0, 1, 128, 255]])


def test_palette_pictures_give_their_colours_and_transparency(tmp_path, pixels):
    indexed = Image.fromarray(pixels).quantize(8)
    indexed.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read_color(tmp_path / "a.png"), np.asarray(indexed.convert("RGB")))
    np.testing.assert_array_equal(read_alpha(tmp_path / "a.png") == 0, np.asarray(indexed) == 0)


def test_a_mask_drawn_in_alpha_alone_is_read_by_its_alpha(tmp_path):
    mask = np.zeros((4, 4, 4), dtype=np.uint8)
    mask[1:3, 1:3, 3] = 255
    write_image(tmp_path / "a.png", mask)
    np.testing.assert_array_equal(read_gray(tmp_path / "a.png"), mask[..., 3])


def test_only_real_transparency_counts_once_decoded(tmp_path, pixels):
    opaque = np.dstack([pixels, np.full((5, 7), 255, np.uint8)])
    write_image(tmp_path / "a.png", opaque)
    assert read_header(tmp_path / "a.png").has_alpha
    assert not read_header(tmp_path / "a.png", decode=True).has_alpha


def test_shrinking_keeps_the_mean(tmp_path):
    pixels = np.random.default_rng(2).integers(60, 190, (64, 64, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", pixels)
    small = read_color(tmp_path / "a.png", size_px=(16, 16))
    assert small.shape == (16, 16, 3)
    assert small.mean() == pytest.approx(pixels.mean(), abs=1)


def test_colour_under_transparent_pixels_does_not_bleed_when_shrinking(tmp_path):
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:, :4] = 200, 100, 50, 255
    pixels[:, 4:] = 0, 255, 0, 0
    write_image(tmp_path / "a.png", pixels)
    small = read_color(tmp_path / "a.png", size_px=(4, 4))
    np.testing.assert_allclose(small[:, 1], np.broadcast_to([200, 100, 50], (4, 3)), atol=2)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_picture_is_named(tmp_path, suffix):
    path = tmp_path / f"broken.{suffix}"
    write_image(path, np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match="broken"):
        read_header(path, decode=True)
    with pytest.raises(UserError, match="broken"):
        read_color(path)


def test_a_missing_picture_and_a_text_file_are_named(tmp_path):
    (tmp_path / "notes.png").write_text("not a picture")
    for name in ("notes.png", "nowhere.png"):
        with pytest.raises(UserError, match=name):
            read_header(tmp_path / name)


def test_a_failed_write_leaves_the_old_file(tmp_path, pixels):
    write_image(tmp_path / "a.png", pixels)
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError, match="unknown file extension"):
        write_image(tmp_path / "a.nothing", pixels)
    assert (tmp_path / "a.png").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
