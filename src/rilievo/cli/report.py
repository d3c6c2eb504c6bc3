"""What the user is told about a capture when it is opened, and how numbers are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rilievo.data.scene import Scene

LISTED = 5


def describe(scene: Scene) -> str:
    """A few lines: views, what was found and assumed, region of interest, and what was dropped, with the reasons."""
    sizes = {(int(w), int(h)) for w, h in scene.cameras.sizes_px.tolist()}
    size = " ".join(f"{w}x{h}" for w, h in sorted(sizes)) if len(sizes) <= 2 else f"{len(sizes)} sizes"
    lines = [f"{scene.name}: {len(scene)} views ({len(scene.test_views)} held out), {size} px"]
    lines += [f"  {note}" for note in scene.notes]
    x, y, z = scene.region.center.tolist()
    lines.append(f"  region of interest: centre ({x:.4g}, {y:.4g}, {z:.4g}), radius {scene.region.radius:.4g}")
    if scene.dropped:
        lines.append(f"  dropped {len(scene.dropped)} of {len(scene) + len(scene.dropped)} frames:")
        lines += [f"    {d.name}: {d.reason}" for d in scene.dropped[:LISTED]]
        if len(scene.dropped) > LISTED:
            lines.append(f"    … and {len(scene.dropped) - LISTED} more")
    return "\n".join(lines)


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Numbers in columns: row name → column name → value; absent ones stay blank."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    first = max((len(r) for r in rows), default=0)
    widths = [max(len(c), 9) for c in columns]
    lines = [" " * first + "".join(f"  {c:>{w}}" for c, w in zip(columns, widths))]
    for name, row in rows.items():
        cells = [f"{row[c]:.4g}" if c in row else "" for c in columns]
        lines.append(f"{name:<{first}}" + "".join(f"  {cell:>{w}}" for cell, w in zip(cells, widths)))
    return "\n".join(lines)


def column(numbers: Mapping[str, float]) -> str:
    """One number a line."""
    first = max((len(name) for name in numbers), default=0)
    return "\n".join(f"{name:<{first}}  {value:>9.4g}" for name, value in numbers.items())
