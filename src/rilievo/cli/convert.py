"""`rilievo convert SCENE -o DIR --to …`: a capture in another layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from rilievo.cli.arguments import Output, parse
from rilievo.cli.report import describe
from rilievo.engine.workspace import SceneSource, require_free


@dataclass(frozen=True)
class Convert:
    """Write a capture in the layout of another tool, in the frame it was given in."""

    scene: tyro.conf.Positional[Path]
    """A capture in any layout rilievo reads."""
    output: Output
    """The folder to write."""
    to: Literal["colmap", "nerfstudio", "blender"]
    """The layout to write."""
    downscale: float = 1.0
    """Shrink the photographs by this factor."""
    mask_meaning: Literal["object", "ignore", "moving"] | None = None
    """What lies outside a mask: nothing (object), what nobody knows (ignore), or what stands still (moving)."""


def command(argv: Sequence[str]) -> None:
    asked = parse("convert", Convert, argv)
    require_free(asked.output)

    from rilievo.data import convert

    scene = SceneSource(str(asked.scene), asked.downscale, asked.mask_meaning).load()
    print(describe(scene))
    convert.convert(scene, asked.output, asked.to)
    print(f"{asked.output}: {len(scene)} views in {asked.to} layout")
    if missing := convert.left_out(scene, asked.to):
        print(f"  left out, since that layout has no word for them: {', '.join(missing)}; --to nerfstudio keeps them")
