"""How unlike two pictures are in structure, where the colour of single pixels would forgive a blur."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from rilievo.metrics.image import ssim_map


def dssim(image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w"]:
    """1 - SSIM around each pixel, averaged over channels; the pictures are black beyond their border (Kerbl et al.
    2023, eq. 7, which weighs it against `l1`).

    Raises `UserError` for pictures smaller than half a window of SSIM.
    """
    return 1 - ssim_map(image, target, border="black").mean(-1)
