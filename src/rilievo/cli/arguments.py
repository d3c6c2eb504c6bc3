"""Arguments that several verbs share, and the one way a verb parses its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

T = TypeVar("T")

Device = Literal["auto", "cpu", "cuda"]

Output = Annotated[Path, tyro.conf.arg(aliases=("-o",))]
MaybeOutput = Annotated[Path | None, tyro.conf.arg(aliases=("-o",))]


def parse(verb: str, arguments: type[T], argv: Sequence[str]) -> T:
    """Read a verb's dataclass from the command line; exits with code 2 after explaining a mistake, 0 after `--help`."""
    return tyro.cli(arguments, prog=f"rilievo {verb}", args=list(argv))
