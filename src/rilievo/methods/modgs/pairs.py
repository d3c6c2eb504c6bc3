"""Flow between the frames of a clip: which pairs, from whom, and where it is believed.

A pair's flow is believed where its round trip closes (`flow.consistency`). Flow from files leads to the next and to the
previous frame; farther it is followed from frame to frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.errors import clear
from rilievo.flow.consistency import cycle_error
from rilievo.flow.provider import provider
from rilievo.flow.sampling import carried
from rilievo.io.flow_file import read_flow

from .clip import Clip

FILES = "files"
FOLDERS = {1: "flow_fwd", -1: "flow_bwd"}
SUFFIXES = (".npz", ".flo", ".png", ".npy")
LOST_PX = 3e4
"""Length of a flow that nobody knows: it leads out of every picture, and half precision holds it."""

Between = Callable[[int, int], Float[Tensor, "h w 2"]]


class FlowPairs:
    """`flow(i, j)` of the pairs (i, j) in `pairs`, both ways each, held in half precision."""

    def __init__(self, clip: Clip, name: str, reach: Sequence[int], cycle_px: float, capture: Path | None) -> None:
        self.cycle_px = cycle_px
        between = _from_files(clip, capture or Path()) if name == FILES else _computed(clip, name)
        apart = set(reach) or set(range(1, len(clip)))
        n = len(clip)
        self.pairs = [(i, j) for i in range(n) for j in range(n) if abs(i - j) in apart]
        self._flows = {pair: between(*pair).half() for pair in self.pairs}

    def flow(self, i: int, j: int) -> Float[Tensor, "h w 2"]:
        """From frame i to frame j, in pixels."""
        return self._flows[i, j].float()

    def believed(self, i: int, j: int) -> Bool[Tensor, "h w"]:
        """Where the flow from i to j and back ends within `cycle_px` of its beginning."""
        return cycle_error(self.flow(i, j), self.flow(j, i)) < self.cycle_px

    def partners(self, i: int) -> list[int]:
        """Frames that frame i is paired with."""
        return [j for k, j in self.pairs if k == i]


def _computed(clip: Clip, name: str) -> Between:
    compute = provider(name)
    photos = clip.photos.numpy()

    def between(i: int, j: int) -> Float[Tensor, "h w 2"]:
        return torch.from_numpy(compute(photos[i], photos[j]))

    return between


def _from_files(clip: Clip, capture: Path) -> Between:
    height, width = clip.photos.shape[1:3]

    @cache
    def between(i: int, j: int) -> Float[Tensor, "h w 2"]:
        way = 1 if j > i else -1
        if abs(i - j) > 1:
            near = between(i, j - way)
            return near + carried(between(j - way, j), near)
        path = _flow_path(capture / FOLDERS[way], clip.stems[i])
        held = read_flow(path, size_px=(width, height))
        return torch.where(torch.from_numpy(held.valid)[..., None], torch.from_numpy(held.flow), LOST_PX)

    return between


def _flow_path(folder: Path, stem: str) -> Path:
    found = next((p for p in (folder / f"{stem}{suffix}" for suffix in SUFFIXES) if p.is_file()), None)
    if found is None:
        raise clear(
            f"flow of frame {stem}",
            expected=f"{folder / stem} with the suffix " + ", ".join(SUFFIXES),
            got="no such file",
            do="compute it, or leave --clip.flow at dis",
        )
    return found
