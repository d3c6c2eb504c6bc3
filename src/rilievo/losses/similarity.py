"""How unlike two pictures are in structure, where the colour of single pixels would forgive a blur."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.metrics.image import C1, C2, SIGMA_PX, WINDOW, ssim_map
from rilievo.ops.ssim import similarity


def dssim(image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w"]:
    """1 - SSIM around each pixel, averaged over channels; the pictures are black beyond their border (Kerbl et al.
    2023, eq. 7, which weighs it against `l1`).

    On the processor the target is a constant. Raises `UserError` for pictures smaller than half a window of SSIM.
    """
    if image.device.type == "cpu":
        offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
        window = torch.softmax(-(offsets**2) / (2 * SIGMA_PX**2), dim=0)
        return 1 - similarity(image, target, window, C1, C2).mean(-1)
    return 1 - ssim_map(image, target, border="black").mean(-1)
