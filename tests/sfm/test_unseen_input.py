"""Sentences for a full disk, for masks without an object, and for pictures of kinds that are not read."""

from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

import rilievo.sfm.align as stages
from rilievo.errors import UserError
from rilievo.sfm.align import AlignSettings, align
from rilievo.sfm.photos import find_photos


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def test_a_database_that_fails_on_a_full_disk_is_told_as_such(folder, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("No registered database factory succeeded.")

    monkeypatch.setattr(stages, "extract", fail)
    room = namedtuple("room", "total used free")
    monkeypatch.setattr(stages.shutil, "disk_usage", lambda path: room(10**9, 10**9, 0))
    with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
        align(find_photos(folder), tmp_path / "out", AlignSettings())
    monkeypatch.setattr(stages.shutil, "disk_usage", lambda path: room(10**9, 0, 10**9))
    with pytest.raises(RuntimeError, match="factory"):
        align(find_photos(folder), tmp_path / "out", AlignSettings())


def test_black_masks_are_named_as_the_cause(folder, tmp_path):
    (folder / "masks").mkdir()
    for i in range(3):
        Image.new("L", (160, 120), 0).save(folder / "masks" / f"{i}.png")
    with pytest.raises(UserError, match=r"masks: .*at most 0 features"):
        align(find_photos(folder), tmp_path / "out", AlignSettings())


def test_pictures_of_phones_are_not_passed_over_in_silence(folder):
    (folder / "images" / "IMG_1.HEIC").write_bytes(b"x")
    found = find_photos(folder)
    assert [(drop.name, ".HEIC" in drop.reason) for drop in found.dropped] == [("IMG_1.HEIC", True)]
