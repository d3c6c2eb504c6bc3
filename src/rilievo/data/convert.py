"""A capture written in another layout: COLMAP, nerfstudio or Blender, in the frame it was given in.

The folder appears whole or not at all: it is written beside its final place and renamed. Photos that need no change are
copied byte for byte, others become PNG. What a layout cannot hold of the photos and their cameras is refused, never
rounded away; what lies beside them and is left out (`left_out`) is told.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from rilievo.data.scene import Scene
from rilievo.data.write_blender import write_blender
from rilievo.data.write_colmap import write_colmap
from rilievo.data.write_nerfstudio import write_nerfstudio
from rilievo.errors import clear
from rilievo.io.atomic import unwritable


class Layout(StrEnum):
    """What `convert` can write."""

    COLMAP = "colmap"
    NERFSTUDIO = "nerfstudio"
    BLENDER = "blender"


def left_out(scene: Scene, to: Layout | str) -> tuple[str, ...]:
    """What lies beside the photos of a scene and has no place in a layout, in words for the user."""
    if to == Layout.NERFSTUDIO:
        return ()
    beside = {
        "times": scene.times is not None,
        "depth": scene.depth_files is not None,
        "flow": scene.flow_files is not None,
        "masks of what moves": scene.moving is not None,
    }
    return tuple(name for name, there in beside.items() if there)


def convert(scene: Scene, out: str | Path, to: Layout | str) -> Path:
    """Write `scene` to the new folder `out` and return it; a normalisation is undone on the way.

    Raises `UserError` when `out` holds anything already or cannot be written, for an unknown layout, or when the layout
    cannot hold the capture (Blender: distortion, a principal point off centre, several cameras, ignore masks).
    """
    if to not in list(Layout):
        raise clear("layout", expected=", ".join(Layout), got=str(to), do="choose one of them")
    out = Path(out)
    write = {Layout.COLMAP: write_colmap, Layout.NERFSTUDIO: write_nerfstudio, Layout.BLENDER: write_blender}[
        Layout(to)
    ]
    with new_folder(out) as temporary:
        write(scene.in_capture_frame(), temporary)
    return out


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out` to fill; it becomes `out` when the block ends well and vanishes otherwise.

    Raises `UserError` when `out` exists and is not an empty folder, or the place cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise clear(str(out), expected="a new or empty folder", got="one with files in it", do="choose another")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    except OSError as error:
        raise unwritable(out, error) from error
    try:
        yield temporary
        temporary.chmod(0o755)
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
