"""Depth and flow that lie beside the photos of a capture, where the layout does not name the files itself.

Depth of `images/003.png` is `depth_mono/003.npz` (an estimate; where that folder is, it goes before what the layout
lists) or `depth/003.npz`. `flow_fwd/003.npz` leads from that frame to the next one of the clip and `flow_bwd/003.npz`
to the one before: the next that was filmed, whether or not it is held out. Test views, which another camera took, are
no part of the clip, and have the depth that the layout lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from rilievo.data.depth_file import DepthFile, find_depth
from rilievo.data.frame import Frame, Split
from rilievo.data.scene import Scene
from rilievo.data.stored import StoredImages
from rilievo.flow.sampling import resize_flow
from rilievo.io.flow_file import FlowFile, read_flow
from rilievo.io.image import read_header

ESTIMATED, MEASURED = "depth_mono", "depth"
FLOW_FOLDERS = {1: "flow_fwd", -1: "flow_bwd"}
FLOW_SUFFIXES = (".npz", ".flo", ".png", ".npy")


def with_companions(capture: Path, frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """The frames with the depth and flow files that lie beside them."""
    flows = _flows(capture, frames)
    return tuple(
        replace(frame, depth=_depth(capture, frame), flows=frame.flows or flows.get(frame.name, {})) for frame in frames
    )


def _depth(capture: Path, frame: Frame) -> DepthFile | None:
    if frame.split is Split.TEST:
        return frame.depth
    if (capture / ESTIMATED).is_dir():
        return find_depth(capture / ESTIMATED, frame.name)
    return frame.depth or find_depth(capture / MEASURED, frame.name)


def _flows(capture: Path, frames: Sequence[Frame]) -> dict[str, dict[str, Path]]:
    """Flow files by the name of the frame they begin in and of the one they lead to; none for what is no clip."""
    folders = {way: capture / name for way, name in FLOW_FOLDERS.items() if (capture / name).is_dir()}
    timed = [(frame.time, frame.name) for frame in frames if frame.split is not Split.TEST and frame.time is not None]
    filmed = [name for _, name in sorted(timed)]
    flows: dict[str, dict[str, Path]] = {}
    for place, name in enumerate(filmed):
        for way, folder in folders.items():
            candidates = (folder / f"{Path(name).stem}{suffix}" for suffix in FLOW_SUFFIXES)
            path = next((path for path in candidates if path.is_file()), None)
            if path is not None and 0 <= place + way < len(filmed):
                flows.setdefault(name, {})[filmed[place + way]] = path
    return flows


def told(scene: Scene) -> list[str]:
    """What lies beside the photos of a scene, in words for the user."""
    notes = []
    if scene.times is not None:
        notes.append(f"a clip: {len(scene.times.unique())} moments")
    if scene.depth_files is not None:
        paths = [file.path for file in scene.depth_files if file is not None]
        folders = ", ".join(sorted({f"{path.parent.name}/" for path in paths}))
        notes.append(f"depth files: {len(paths)}, in {folders}")
    if scene.flow_files is not None:
        notes.append(f"flow files: {sum(map(len, scene.flow_files))}")
    return notes


def flow_beside(scene: Scene, i: int, to: str) -> FlowFile | None:
    """Optical flow from photo `i` to the photo named `to`, in pixels at the size the scene has it; None without a file.

    Flow that is as large as the photo's file shrinks with it. Raises `UserError` for flow of any other size, and as
    `read_flow` does.
    """
    path = None if scene.flow_files is None else scene.flow_files[i].get(to)
    if path is None:
        return None
    width, height = scene.cameras.sizes_px[i].tolist()
    stored = _stored_size(scene, i)
    held = read_flow(path)
    if held.flow.shape[:2] == (height, width) or held.flow.shape[:2] != stored[::-1]:
        return read_flow(path, size_px=(width, height))
    valid = torch.from_numpy(held.valid).float()[..., None]
    whole = F.interpolate(valid.permute(2, 0, 1)[None], (height, width), mode="area")[0, 0] > 0.999
    return FlowFile(resize_flow(torch.from_numpy(held.flow), height, width).numpy(), whole.numpy())


def _stored_size(scene: Scene, i: int) -> tuple[int, int]:
    """Width and height of the file of photo `i`, turned as the scene has it."""
    if not isinstance(scene.images, StoredImages):
        width, height = scene.cameras.sizes_px[i].tolist()
        return width, height
    file = scene.images.files[i]
    header = read_header(file.path)
    return header.size_px if file.orient else header.stored_size_px
