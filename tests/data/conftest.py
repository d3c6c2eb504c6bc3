"""A sound capture to open and to spoil."""

import pytest

from rilievo.data.convert import convert

from .captures import ball_scene


@pytest.fixture
def nerfstudio(tmp_path):
    """12 photos without masks, in nerfstudio's layout."""
    return convert(ball_scene(meaning=None), tmp_path / "capture", "nerfstudio")
