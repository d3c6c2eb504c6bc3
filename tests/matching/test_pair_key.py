"""Keys follow from contents and settings alone."""

from dataclasses import dataclass

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.matching.correspondences import MatchingConfig
from rilievo.matching.pair_key import content_key, settings_key


@dataclass(frozen=True)
class Other:
    step: int = 8


def test_a_renamed_photo_keeps_its_key_and_an_edited_one_does_not(tmp_path):
    one, two = tmp_path / "a.jpg", tmp_path / "b.jpg"
    one.write_bytes(b"\xff\xd8 a photo" * 300_000)
    two.write_bytes(one.read_bytes())
    assert content_key(one) == content_key(two) == content_key(one.read_bytes())
    two.write_bytes(one.read_bytes()[:-1] + b"!")
    assert content_key(one) != content_key(two)


def test_masks_count_and_so_does_having_none():
    photo = np.zeros((4, 6, 3), np.uint8)
    mask = np.ones((4, 6), bool)
    edited = mask.copy()
    edited[0, 0] = False
    keys = [content_key(photo), content_key(photo, None), content_key(photo, mask), content_key(photo, edited)]
    keys += [content_key(photo.reshape(6, 4, 3)), content_key(photo.astype(np.int8)), content_key(mask, photo)]
    assert len(set(keys)) == len(keys)


def test_any_setting_and_the_kind_of_settings_change_the_key():
    keys = [settings_key(MatchingConfig(8)), settings_key(MatchingConfig(4)), settings_key(Other(8)), settings_key()]
    assert len(set(keys)) == len(keys)
    assert settings_key(MatchingConfig(8)) == settings_key(MatchingConfig())


def test_a_photo_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="gone"):
        content_key(tmp_path / "gone.jpg")
