"""What a picture shows where there are no Gaussians: colours from around the hole.

Pull and push (Gortler et al. 1996, "The Lumigraph", section 3.4): pictures of half the size, until one pixel is left,
hold the mean colour of what is covered; going back up, each fills what the finer one leaves uncovered.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TINY = 1e-6


def filled(rgb: Float[Tensor, "h w 3"], opacity: Float[Tensor, "h w"]) -> Float[Tensor, "h w 3"]:
    """A picture premultiplied with opacity, over what surrounds its holes; white if nothing is covered."""
    planes = torch.cat((rgb, opacity[..., None]), dim=-1).permute(2, 0, 1)[None]
    below = _below(planes)
    return (rgb + (1 - opacity[..., None]) * below[0].permute(1, 2, 0)).clamp_min(0)


def _below(planes: Float[Tensor, "1 4 h w"]) -> Float[Tensor, "1 3 h w"]:
    """Colours to see through a picture's holes."""
    size = planes.shape[-2:]
    if max(size) == 1:
        return torch.ones_like(planes[:, :3])
    half = F.avg_pool2d(planes, 2, ceil_mode=True, count_include_pad=False)
    weight = half[:, 3:]
    opaque = (4 * weight).clamp(max=1)  # a half-covered pixel is known well enough
    half = torch.cat((half[:, :3] * (opaque / weight.clamp_min(TINY)), opaque), dim=1)
    color = half[:, :3] + (1 - opaque) * _below(half)
    return F.interpolate(color, size, mode="bilinear", align_corners=False)
