import json
from pathlib import Path

import numpy as np
import pytest

from .oracle import Case


@pytest.fixture(scope="session")
def mast3r(shared) -> Path:
    """The folder of references computed with the published MASt3R and DUSt3R code."""
    return shared / "golden" / "mast3r"


@pytest.fixture(scope="session")
def main_scene(mast3r):
    return Case(mast3r / "sparse_ga_main.npz")


@pytest.fixture(scope="session")
def mixed_scene(mast3r):
    return Case(mast3r / "sparse_ga_mixed.npz")


@pytest.fixture(scope="session")
def turntable_scene(mast3r):
    return Case(mast3r / "sparse_ga_turntable.npz")


@pytest.fixture(scope="session")
def summary(mast3r):
    return json.loads((mast3r / "sparse_ga_summary.json").read_text())


@pytest.fixture(scope="session")
def arrays(mast3r):
    """The arrays of a reference file, by its name."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(mast3r / name) as file:
            return {key: file[key] for key in file.files}

    return load
