"""Where a map of depth is steep: a share of the pixels whose neighbours lie farthest away in space.

Depth at the edge of a surface is neither that surface's nor the next one's. MoDGS leaves out a tenth of each frame's
pixels so (`GeoWizardOut/depth_valid_msk` of its captures). Steepness at a pixel is the length of (gx, gy), the mean
distances to the points left and right of it and above and below; points are back-projected as in `normal_alignment`,
without the half of a pixel.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.flow.sampling import index_grid


def steep_pixels(depth: Float[Tensor, "h w"], focal_px: float, quantile: float) -> Bool[Tensor, "h w"]:
    """True where steepness is beyond its quantile over all pixels but those of the border, which are none of them."""
    height, width = depth.shape
    at = (index_grid(height, width, depth) - depth.new_tensor([width / 2, height / 2])) / focal_px
    points = torch.cat((at * depth[..., None], depth[..., None]), dim=-1)
    down, right = (torch.linalg.vector_norm(points.diff(dim=axis), dim=-1) for axis in (0, 1))
    across = (right[1:-1, :-1] + right[1:-1, 1:]) / 2
    along = (down[:-1, 1:-1] + down[1:, 1:-1]) / 2
    steepness = torch.hypot(across, along)
    steep = torch.zeros(height, width, dtype=torch.bool, device=depth.device)
    steep[1:-1, 1:-1] = steepness > torch.quantile(steepness, quantile)
    return steep
