"""Flow that lies in files beside the photos of a clip.

A file leads from one photo of the capture to another, most often to its neighbour. Where photos between two frames are
held out, flow goes through them: their flow is used, their colours are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.data.companions import FLOW_FOLDERS, FLOW_SUFFIXES, flow_beside
from rilievo.data.scene import Scene
from rilievo.errors import UserError, clear
from rilievo.flow.sampling import carried

LOST_PX = 3e4
"""Length of a flow that nobody knows: it leads out of every picture, and half precision holds it."""


@dataclass(frozen=True)
class FiledFlow:
    """Of the frames `views` of a scene, in order of time."""

    scene: Scene
    views: tuple[int, ...]

    def direct(self, i: int, j: int) -> Float[Tensor, "h w 2"] | None:
        """From frame i to frame j, where a file leads there. Raises `UserError` as `flow_beside` does."""
        return self._read(self.views[i], self.views[j])

    def through(self, i: int, j: int) -> Float[Tensor, "h w 2"]:
        """From frame i to another frame j, through the photos between them.

        Raises `UserError` where a file is missing, and as `flow_beside` does.
        """
        at, goal = self.views[i], self.views[j]
        flow: Float[Tensor, "h w 2"] | None = None
        while at != goal:
            step = self._step(at, goal)
            onward = None if step is None else self._read(at, step)
            if step is None or onward is None:
                raise self._missing(at, 1 if j > i else -1)
            flow = onward if flow is None else flow + carried(onward, flow)
            at = step
        assert flow is not None, "two frames"
        return flow

    def _step(self, at: int, goal: int) -> int | None:
        """The photo nearest to the goal in time that a file leads to, of those that lie between."""
        if self.scene.times is None or self.scene.flow_files is None:
            return None
        times: list[float] = self.scene.times.tolist()
        way = times[goal] - times[at]
        known = [k for k, name in enumerate(self.scene.names) if name in self.scene.flow_files[at]]
        if goal in known:
            return goal
        between = [k for k in known if way and 0 < (times[k] - times[at]) / way < 1]
        return max(between, key=lambda k: abs(times[k] - times[at]), default=None)

    def _read(self, view: int, to: int) -> Float[Tensor, "h w 2"] | None:
        held = flow_beside(self.scene, view, self.scene.names[to])
        if held is None:
            return None
        return torch.where(torch.from_numpy(held.valid)[..., None], torch.from_numpy(held.flow), LOST_PX)

    def _missing(self, view: int, way: int) -> UserError:
        stem, folder = Path(self.scene.names[view]).stem, self.scene.folder or Path()
        return clear(
            f"flow of frame {stem}",
            expected=f"{folder / FLOW_FOLDERS[way] / stem} with the suffix " + ", ".join(FLOW_SUFFIXES),
            got="no such file",
            do="compute it, or leave --clip.flow at dis",
        )
