"""`rilievo convert SCENE -o DIR --to …`: a capture in another layout, its photos turned to the object on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from rilievo.cli.arguments import Output, parse
from rilievo.cli.report import describe
from rilievo.engine.workspace import SceneSource, require_free
from rilievo.errors import clear


@dataclass(frozen=True)
class Convert:
    """Write a capture in the layout of another tool, in the frame it was given in."""

    scene: tyro.conf.Positional[Path]
    """A capture in any layout rilievo reads."""
    output: Output
    """The folder to write."""
    to: Literal["colmap", "nerfstudio", "blender"] = "nerfstudio"
    """The layout to write; nerfstudio is rilievo's own."""
    downscale: float = 1.0
    """Shrink the photographs by this factor."""
    mask_meaning: Literal["object", "ignore", "moving"] | None = None
    """What lies outside a mask: nothing (object), what nobody knows (ignore), or what stands still (moving)."""
    look_at_object: bool = False
    """Turn and crop every photograph to the object: the scene's points in its region of interest. A camera that only
    turns needs no depth for it, and pixels spent beside the object are saved."""
    side: int | None = None
    """Width and height in pixels of photographs that are turned; 1024 when left out."""


def command(argv: Sequence[str]) -> None:
    asked = parse("convert", Convert, argv)
    require_free(asked.output)

    from rilievo.data import convert
    from rilievo.data.nero_crop import SIDE_PX, look_at_object

    if asked.side is not None and not asked.look_at_object:
        raise clear("--side", expected="--look-at-object beside it", got="--side alone", do="add it, or --downscale")
    scene = SceneSource(str(asked.scene), asked.downscale, asked.mask_meaning).load()
    if asked.look_at_object:
        scene = look_at_object(scene, SIDE_PX if asked.side is None else asked.side)
    print(describe(scene))
    convert.convert(scene, asked.output, asked.to)
    print(f"{asked.output}: {len(scene)} views in {asked.to} layout")
    if missing := convert.left_out(scene, asked.to):
        print(f"  left out, since that layout has no word for them: {', '.join(missing)}; --to nerfstudio keeps them")
