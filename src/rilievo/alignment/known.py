"""What is known of a view before it is aligned, each to be kept or only to start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.errors import clear


@dataclass(frozen=True)
class KnownView:
    """Anything known of one view, at the size that the aligner works at. Raises `UserError` where it cannot be so."""

    K: Float[Tensor, "3 3"] | None = None
    """Our convention: a pixel's centre is at +0.5. The mean of fx and fy counts."""
    world_from_cam: Float[Tensor, "4 4"] | None = None
    depth: Float[Tensor, "h w"] | None = None
    """Along camera z, in the units of the poses where these are known; what is not positive and finite is unknown."""
    keep_K: bool = True
    keep_pose: bool = True
    """A single kept pose says where the world is, two or more also how large."""
    keep_depth: bool = True

    def __post_init__(self) -> None:
        if self.K is not None and not (self.K[0, 0] > 0 and self.K[1, 1] > 0):
            raise clear(
                "known intrinsics",
                expected="positive focal lengths",
                got=f"{float(self.K[0, 0])} and {float(self.K[1, 1])}",
                do="give K in pixels",
            )
        if self.depth is not None and not (torch.isfinite(self.depth) & (self.depth > 0)).any():
            raise clear("known depth", expected="some positive values", got="none", do="leave the depth out")
