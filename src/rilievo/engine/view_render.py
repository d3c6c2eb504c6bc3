"""The view of any lens, from a model that is seen through pinholes: drawn through the pinhole that covers it, as fine
as the lens shows it, and looked up where the lens sends each pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.undistort import pinhole_cameras

Draw = Callable[[Cameras], Float[Tensor, "h w c"]]
"""A pinhole camera, alone in its batch → its picture, premultiplied, in any channels."""
FAR_OUTSIDE = -1e6
"""A pixel in no picture."""


def through_lens(draw: Draw, cameras: Cameras, index: int) -> Float[Tensor, "h w c"]:
    """The picture of camera `index`; where its lens lets no light pass, or beyond 75° off its axis, 0."""
    camera = cameras[index]
    pinhole = pinhole_cameras(camera, alpha=1.0)
    if torch.equal(pinhole.K, camera.K):
        return draw(pinhole)
    finest = float((camera.K[0, :2, :2].diagonal() / pinhole.K[0, :2, :2].diagonal()).max())
    pinhole = pinhole.resized(factor=max(1.0, finest))
    straight = draw(pinhole)
    here = torch.eye(4, dtype=camera.K.dtype)[None]
    rays = replace(camera, world_from_cam=here).view_rays(0, torch.float64)
    pixels, _ = replace(pinhole, world_from_cam=here).project(0, rays.directions)
    reached = camera.reachable(torch.zeros(len(pixels), dtype=torch.int64), camera.pixel_centers(0))
    pixels = torch.where(reached[:, None], pixels, torch.nan).nan_to_num(FAR_OUTSIDE)
    width, height = camera.sizes_px[0].tolist()
    grid = (2 * pixels / pinhole.sizes_px[0] - 1).view(1, height, width, 2).to(straight)
    return F.grid_sample(straight.movedim(-1, 0)[None], grid, align_corners=False)[0].movedim(0, -1)
