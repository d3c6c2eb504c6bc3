import pytest

from .oracle import golden_world


@pytest.fixture(scope="session")
def main_world(shared):
    return golden_world(shared / "golden" / "mast3r" / "sparse_ga_main.npz")


@pytest.fixture(scope="session")
def turntable_world(shared):
    return golden_world(shared / "golden" / "mast3r" / "sparse_ga_turntable.npz")
