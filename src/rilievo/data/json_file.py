"""JSON files of other people's making: an object comes out, or a sentence that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rilievo.errors import clear


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises `UserError` when the file cannot be read, parsed, or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise clear(str(path), expected="a JSON file", got=str(error), do="export the capture again") from error
    if not isinstance(content, dict):
        raise clear(
            str(path), expected="a JSON object", got=f"a {type(content).__name__}", do="export the capture again"
        )
    return content


def frames_of(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The list under "frames". Raises `UserError` when it is missing, empty, or not made of objects."""
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise clear(
            str(path),
            expected='a list "frames" with one object per photo',
            got="none" if not frames else "something else",
            do="export the capture again",
        )
    return frames


def number(content: dict[str, Any], key: str, path: Path) -> float:
    """The number under `key`. Raises `UserError` when it is missing or no number."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise clear(str(path), expected=f'a number "{key}"', got=repr(value), do="add it or export the capture again")
    return float(value)
