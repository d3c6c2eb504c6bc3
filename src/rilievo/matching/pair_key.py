"""Names for results that follow from what went in: the contents of photos and the settings, by SHA-256.

An edited photo, another mask or a changed setting is another key, so a stored result is never taken for one it is not;
renamed and reordered photos keep theirs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import clear

CHUNK_BYTES = 1 << 20


def content_key(*parts: Path | bytes | np.ndarray | None) -> str:
    """Key of what files, bytes and arrays hold, in this order: a photo, then its mask (None where it has none).

    Raises `UserError` naming a file that cannot be read.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(_digest(part))
    return digest.hexdigest()


def settings_key(*settings: Any) -> str:
    """Key of settings, each a dataclass of plain values: kinds, names of fields and values all count."""
    told = [[type(s).__qualname__, dataclasses.asdict(s)] for s in settings]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=_plain).encode()).hexdigest()


def combined_key(keys: Iterable[str]) -> str:
    """Key of several keys in this order."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


def _digest(part: Path | bytes | np.ndarray | None) -> bytes:
    """Digest of one part with its kind, so that no two different lists of parts give the same bytes."""
    if part is None:
        return hashlib.sha256(b"nothing").digest()
    if isinstance(part, bytes):
        return hashlib.sha256(b"bytes" + part).digest()
    if isinstance(part, np.ndarray):
        header = f"array {part.dtype.str} {part.shape}".encode()
        return hashlib.sha256(header + np.ascontiguousarray(part).tobytes()).digest()
    digest = hashlib.sha256(b"bytes")
    try:
        with part.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise clear(
            f"photo {part}", expected="a file that can be read", got=error.strerror or str(error), do="check the path"
        ) from error
    return digest.digest()


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a setting must be a plain value, not {type(value).__name__}")  # a bug of ours, not the user's
