"""Files that appear whole or not at all: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rilievo.errors import UserError, clear


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) to write to; rename it onto `path` when the block ends well.

    When the block raises, the temporary file is removed and `path` is as it was. The folder is created where missing.
    Raises `UserError` when the place cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def unwritable(path: Path, error: OSError) -> UserError:
    """The user's side of an `OSError` met while writing `path`."""
    return clear(
        f"cannot write {path}",
        expected="a place with room and permission to write",
        got=f'"{error.strerror or error}"',
        do="choose another path with -o",
    )
