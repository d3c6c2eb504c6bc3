"""Photos scaled and cut as published."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.io.image import write_image
from rilievo.pointmaps.photo import frame, normalized, prepare, prepare_file

GREY_LEVEL = 1.001
"""One step of 255: Pillow's versions differ by that in resampling."""


@pytest.mark.golden
def test_sizes_are_the_published_ones(published):
    rows = json.loads((published / "image_sizes.json").read_text())["rows"]
    assert rows
    for row in rows:
        for out in row["out"]:
            framing = frame(tuple(row["in_wh"]), out["size"], square_ok=out["square_ok"], patch_px=out["patch_size"])
            assert framing.size_px == tuple(out["true_shape_hw"][::-1]), (row["in_wh"], out)
            assert list(framing.size_px[::-1]) == out["tensor_shape"][2:]


@pytest.mark.golden
def test_pixels_are_the_published_ones(published):
    data = np.load(published / "images.npz")
    settings = sorted({tuple(key.split("/")[:2]) for key in data.files})
    assert settings
    for file, setting in settings:
        size, *square = setting.removeprefix("size").split("_squareok")
        photo = prepare_file(published / f"img_{file}", int(size), square_ok=square == ["1"])
        assert list(photo.size_hw) == data[f"{file}/{setting}/true_shape_hw"].reshape(-1).tolist()
        got = normalized(torch.from_numpy(photo.pixels)).numpy() * 127.5
        if f"{file}/{setting}/img_uint8" in data.files:
            want = data[f"{file}/{setting}/img_uint8"][0] - 127.5
        else:
            want = data[f"{file}/{setting}/img"][0] * 127.5
        assert float(np.abs(got - want).max()) <= GREY_LEVEL, (file, setting)


def test_a_pixel_leads_back_to_where_it_was_in_the_photo():
    height, width = 300, 500
    x = np.broadcast_to((np.arange(width) + 0.5) / 2, (height, width))
    y = np.broadcast_to((np.arange(height) + 0.5)[:, None] / 2, (height, width))
    pixels = np.stack((x, y, np.zeros_like(x)), axis=-1).round().astype(np.uint8)
    photo = prepare(pixels, 256)
    rows, columns = np.mgrid[20 : photo.size_hw[0] - 20, 20 : photo.size_hw[1] - 20]
    there = photo.photo_from_input.numpy() @ np.stack((columns + 0.5, rows + 0.5, np.ones_like(rows))).reshape(3, -1)
    shown = photo.pixels[rows.ravel(), columns.ravel(), :2].T
    assert np.abs(there[:2] / 2 - shown).max() < 0.8


def test_bytes_span_minus_one_to_one():
    assert normalized(torch.tensor([[[0, 255, 51]]], dtype=torch.uint8)).flatten().tolist() == pytest.approx(
        [-1, 1, -0.6]
    )


def test_a_broken_photo_is_named(tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    with pytest.raises(ValueError, match=r"torn\.jpg"):
        prepare_file(tmp_path / "torn.jpg", 512)


def test_square_photos_are_kept_whole_on_request():
    square = np.asarray(Image.new("RGB", (640, 640)))
    assert prepare(square, 512).size_hw == (384, 512)
    assert prepare(square, 512, square_ok=True).size_hw == (512, 512)


def test_a_strip_too_narrow_for_a_patch_is_named(tmp_path):
    write_image(tmp_path / "strip.png", np.zeros((10, 2000, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"strip\.png: expected both sides .* got 2000 x 10 px; crop"):
        prepare_file(tmp_path / "strip.png", 512)
