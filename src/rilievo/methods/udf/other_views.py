"""The training pictures as places to look again: which of them see what another sees, in grey or in colours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rilievo.engine.view_sampler import Picture
from rilievo.renderers.patch_blend import SourceViews, nearest_views

BESIDE = 0.5
"""Grey of pixels where the object is cut out, in all pictures alike."""


class OtherViews:
    """Pictures by view; `count` of them are compared with one."""

    def __init__(self, pictures: Sequence[Picture], count: int) -> None:
        self.pictures = {picture.view: picture for picture in pictures}
        self.order, self.count = list(self.pictures), count
        self._grey: dict[int, UInt8[Tensor, "h w"]] = {}
        cameras = [picture.camera for picture in pictures]
        self.centers = torch.cat([camera.centers for camera in cameras])
        self.forwards = torch.cat([camera.forwards for camera in cameras])

    def width(self, view: int) -> int:
        return int(self.pictures[view].rgb.shape[1])

    def colors(self, view: int, over: Float[Tensor, "3"]) -> Float[Tensor, "3 h w"]:
        """A picture, over a colour where it is cut out."""
        picture = self.pictures[view]
        share = picture.coverage.float() / 255
        return (picture.rgb.float() / 255).movedim(-1, 0) * share + over[:, None, None] * (1 - share)

    def grey(self, view: int) -> Float[Tensor, "h w"]:
        """The same without its colours, over a middle grey."""
        if view not in self._grey:
            grey = self.colors(view, torch.full((3,), BESIDE)).mean(0)
            self._grey[view] = (255 * grey).round().to(torch.uint8)
        return self._grey[view].float() / 255

    def near(self, view: int, over: Float[Tensor, "3"] | None = None) -> SourceViews | None:
        """The views to compare one with, among those of its size, in grey if they are over no colour; None where it is
        the only one."""
        here = self.order.index(view)
        shape = self.pictures[view].rgb.shape
        alike = [i for i, other in enumerate(self.order) if self.pictures[other].rgb.shape == shape]
        if len(alike) < 2:
            return None
        chosen = nearest_views(self.centers[alike], self.forwards[alike], alike.index(here), self.count)
        views = [self.order[alike[int(i)]] for i in chosen]
        cameras = [self.pictures[other].camera for other in views]
        return SourceViews(
            torch.stack([self.grey(other)[None] if over is None else self.colors(other, over) for other in views]),
            torch.cat([camera.K for camera in cameras]).float(),
            torch.cat([camera.cam_from_world for camera in cameras]).float(),
        )
