"""What is known of some views beforehand and therefore stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.errors import clear


@dataclass(frozen=True)
class KnownViews:
    """Poses, focal lengths and principal points by view; any view may lack any of them.

    (The published code freezes the poses of all views as soon as one is given, and cannot start from exactly one.)
    """

    world_from_cam: Mapping[int, Float[Tensor, "4 4"]] = field(default_factory=dict)
    focals_px: Mapping[int, float] = field(default_factory=dict)
    centers_px: Mapping[int, Float[Tensor, "2"]] = field(default_factory=dict)
    """Principal points, pixel centres at +0.5."""

    def check(self, n_views: int) -> None:
        """Raises `UserError` for a view that does not exist, a pose that is not rigid, a focal length <= 0."""
        for v in {*self.world_from_cam, *self.focals_px, *self.centers_px}:
            if not 0 <= v < n_views:
                raise clear(
                    "known cameras",
                    expected=f"photos 0 to {n_views - 1}",
                    got=f"photo {v}",
                    do="number them as the photos",
                )
        for v, pose in self.world_from_cam.items():
            R = pose[:3, :3].double()
            rigid = torch.allclose(R @ R.mT, torch.eye(3, dtype=R.dtype, device=R.device), atol=1e-4)
            if not (rigid and torch.linalg.det(R) > 0 and pose.isfinite().all()):
                raise clear(
                    f"known pose of photo {v}",
                    expected="a rotation and a translation",
                    got=f"a 3x3 block of determinant {float(torch.linalg.det(R)):.4g}",
                    do="give world_from_cam without scale or mirroring",
                )
        for v, focal in self.focals_px.items():
            if not focal > 0:
                raise clear(
                    f"known focal length of photo {v}",
                    expected="pixels > 0",
                    got=str(focal),
                    do="leave it out or mend it",
                )

    @property
    def fixes_scale(self) -> bool:
        """Whether the known poses stand in at least two places."""
        centers = [pose[:3, 3].double() for pose in self.world_from_cam.values()]
        return any(bool((c != centers[0]).any()) for c in centers[1:])

    def poses(self, like: Tensor) -> Float64[Tensor, "known 4 4"]:
        """The known poses, in the order of their views."""
        return torch.stack([self.world_from_cam[v].double() for v in sorted(self.world_from_cam)]).to(like.device)
