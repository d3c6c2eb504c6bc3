"""Shapes and types are checked while tests run; golden references are found, or their absence is told."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("rilievo", "beartype.beartype")

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARED = Path(os.environ.get("RILIEVO_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of captures and golden references. In CI its absence is a failure; elsewhere the test skips, and says
    so.
    """
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is missing: CI needs the golden references; set RILIEVO_SHARED")
        pytest.skip(f"{SHARED} is missing; set RILIEVO_SHARED to run the tests against published numbers")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Numeric references computed with the published implementations (neural part)."""
    return shared / "golden" / "neural"
