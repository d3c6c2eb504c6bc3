"""A capture small enough to learn from in seconds."""

from pathlib import Path

import pytest

from rilievo.demo.capture import write_capture


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine photographs of the demo's amphora, 40 pixels wide, one of them held out."""
    folder = tmp_path_factory.mktemp("captures") / "amphora"
    write_capture(folder, views=9, size_px=40)
    return folder
