"""Depth and flow beside the photos of a scene, written with them: `depth/` or `depth_mono/`, and `flow/`.

Depth becomes float32 arrays in units of the capture, 0 where unknown. What was estimated from the photo alone stays in
`depth_mono/` and is not named in the list of frames, whose readers would take it for a measurement. Flow becomes .npz
archives named after both photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rilievo.data.companions import ESTIMATED, MEASURED, flow_beside
from rilievo.data.scene import Scene
from rilievo.io.flow_file import write_flow

FLOW = "flow"


def write_depth(scene: Scene, i: int, folder: Path, stem: str) -> str | None:
    """Depth of photo `i` below `folder`; its path there where it was measured. Raises `UserError` as `Scene.depth`."""
    depth = scene.depth(i)
    if depth is None or scene.depth_files is None:
        return None
    file = scene.depth_files[i]
    is_estimate = file is not None and file.path.parent.name == ESTIMATED
    place = folder / (ESTIMATED if is_estimate else MEASURED)
    place.mkdir(exist_ok=True)
    np.save(place / f"{stem}.npy", depth.astype(np.float32))
    return None if is_estimate else f"{MEASURED}/{stem}.npy"


def write_flows(scene: Scene, i: int, folder: Path, stems: Sequence[str]) -> dict[int, str]:
    """Flow from photo `i` below `folder`, its paths there by the numbers of the photos it leads to.

    Raises `UserError` as `flow_beside` does.
    """
    written = {}
    for j, name in enumerate(scene.names):
        held = flow_beside(scene, i, name)
        if held is not None:
            (folder / FLOW).mkdir(exist_ok=True)
            path = f"{FLOW}/{stems[i]}_{stems[j]}.npz"
            write_flow(folder / path, held.flow, held.valid)
            written[j] = path
    return written
