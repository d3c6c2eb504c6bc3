"""Pictures of a model along a path of cameras and moments: colour, normals, depth and flow.

False colours mean the same in all pictures of a film: the range of depth and the longest flow are found beforehand, by
looking at a few of them small.

The flow of a picture is where the next one shows what each pixel shows: its point, by depth, goes along with the motion
of the model, where that has one, and is seen by the next camera. The last picture has the flow that would go on from
the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.engine.method import Model, MovingModel, Rendering
from rilievo.errors import clear
from rilievo.viz.flow_color import flow_picture
from rilievo.viz.picture import depth_picture, depth_span, grid, normal_picture, to_bytes

Show = Literal["color", "normals", "depth", "flow"]
SHOWS: tuple[Show, ...] = get_args(Show)

SURVEYED, SURVEY_PX = 6, 80
"""Pictures looked at beforehand, and their width."""
FAST = 98
"""Percentile of the lengths of flow that gets the full colour."""
STANDING = 1e-3
"""Flow shorter than this, in widths of a picture, never gets the full colour: rounding is no motion."""


@dataclass(frozen=True)
class Take:
    """Cameras one after another, and when each of them looks; without times where nothing moves."""

    cameras: Cameras
    times: Float[Tensor, "n"] | None = None
    """In [0, 1] over the clip."""

    def __len__(self) -> int:
        return len(self.cameras)

    def time(self, i: int) -> float | None:
        return None if self.times is None else float(self.times[i])


class Film:
    """The pictures of a take, what is shown side by side in each."""

    def __init__(self, model: Model, take: Take, shows: Sequence[Show] = ("color",)) -> None:
        """Raises `UserError` for the flow of a single picture, which leads nowhere."""
        if "flow" in shows and len(take) < 2:
            raise clear(
                "--show flow",
                expected="at least two pictures, since flow leads from one to the next",
                got=str(len(take)),
                do="ask for more --frames",
            )
        self.model, self.take, self.shows = model, take, tuple(shows)

    def __len__(self) -> int:
        return len(self.take)

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        for i in range(len(self)):
            seen = self.model.render(self.take.cameras, i, self.take.time(i))
            pictures = [self._picture(show, i, seen) for show in self.shows]
            yield pictures[0] if len(pictures) == 1 else grid([pictures])

    def _picture(self, show: Show, i: int, seen: Rendering) -> UInt8[np.ndarray, "h w 3"]:
        opacity = seen.opacity.cpu().numpy()
        if show == "depth":
            return depth_picture(seen.depth.cpu().numpy(), opacity, self._span)
        if show == "flow":
            width = int(self.take.cameras.sizes_px[i, 0])
            return flow_picture(film_flow(self.model, self.take, i, seen).numpy(), self._longest * width)
        if show == "normals":
            if seen.normals is None:
                raise clear(
                    "--show normals", expected="a method with a surface", got="one without", do="choose color or depth"
                )
            return normal_picture(seen.normals.cpu().numpy(), opacity)
        return to_bytes(seen.rgb.cpu().numpy())

    @cached_property
    def _span(self) -> tuple[float, float] | None:
        """Range of depth over the film; None where nothing is hit."""
        spans = [depth_span(seen.depth.cpu().numpy(), seen.opacity.cpu().numpy()) for _, _, seen in self._survey]
        known = [span for span in spans if span is not None]
        return (min(near for near, _ in known), max(far for _, far in known)) if known else None

    @cached_property
    def _longest(self) -> float:
        """Length of flow that has the full colour, in widths of a picture."""
        lengths = [
            film_flow(self.model, small, i, seen).norm(dim=-1) / small.cameras.sizes_px[i, 0]
            for small, i, seen in self._survey
        ]
        return max(float(np.percentile(torch.cat([part.flatten() for part in lengths]).numpy(), FAST)), STANDING)

    @cached_property
    def _survey(self) -> list[tuple[Take, int, Rendering]]:
        """A few pictures, small: the small take, the number in it, and what is seen."""
        width = int(self.take.cameras.sizes_px[:, 0].max())
        cameras = self.take.cameras.resized(factor=min(1.0, SURVEY_PX / width))
        small = Take(cameras, self.take.times)
        chosen = np.unique(np.linspace(0, len(small) - 1, SURVEYED).astype(int)).tolist()
        return [(small, i, self.model.render(cameras, i, small.time(i))) for i in chosen]


def film_flow(model: Model, take: Take, i: int, seen: Rendering) -> Float[Tensor, "h w 2"]:
    """Flow of picture `i`, in pixels; 0 where nothing is seen, or where what is seen leaves the next camera's sight."""
    last = i == len(take) - 1
    other = i - 1 if last else i + 1
    cameras = take.cameras
    rays = cameras.view_rays(i, torch.float64)
    depth = seen.depth.cpu().double().flatten()
    points = rays.at(depth / (rays.directions @ cameras.forwards[i]))
    here, there = take.time(i), take.time(other)
    if isinstance(model, MovingModel) and here is not None and there is not None:
        points = points + model.displacement(cameras, i, here, there).cpu().double().reshape(-1, 3)
    pixels, _ = cameras.project(other, points)
    flow = torch.where((depth > 0)[:, None], pixels - cameras.pixel_centers(i), 0).nan_to_num(0)
    return (-flow if last else flow).float().view(*seen.depth.shape, 2)
