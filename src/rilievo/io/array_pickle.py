"""Python pickles that hold NumPy arrays and nothing else, as some published data sets store cameras.

A pickle may name any function of any module, and loading it calls them. Only what rebuilds arrays is allowed here.
"""

from __future__ import annotations

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

from rilievo.errors import UserError, clear

ALLOWED = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }
)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"a pickle that calls {module}.{name}")
        return super().find_class(module, name)


def read_array_pickle(path: Path) -> object:
    """Arrays, numbers, texts, and lists and dicts of them.

    Raises `UserError` naming the file when it is missing, damaged, or holds anything else.
    """
    try:
        return _ArraysOnly(BytesIO(path.read_bytes())).load()
    except (OSError, ValueError, EOFError, TypeError, ImportError, AttributeError, pickle.UnpicklingError) as error:
        if isinstance(error, UserError):
            raise
        got = "nothing there" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
        raise clear(
            f"pickle {path}", expected="NumPy arrays alone", got=got, do="copy the file again from where it came"
        ) from error
