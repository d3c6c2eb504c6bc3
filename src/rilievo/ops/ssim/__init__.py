"""Structural similarity around each pixel, to learn from: a picture against its target, on the processor.

With bars for means over a window and the picture black beyond its border (Wang et al. 2004, IEEE TIP 13(4)),

    S = (2 x̄ ȳ + c₁) / (x̄² + ȳ² + c₁) · (2 σ_xy + c₂) / (σ_xx + σ_yy + c₂),    σ_xy = mean of x y - x̄ ȳ.

`metrics.image.ssim_map` is the definition, in plain torch; this is the same in one pass over the rows, forward and
backward. Gradients flow to the picture, once, and not to the target; they are the same for any number of threads.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.errors import clear


def similarity(
    image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], window: Float[Tensor, "taps"], c1: float, c2: float
) -> Float[Tensor, "h w c"]:
    """S of each pixel and channel; `window` is odd in length, sums to 1 and is applied along columns and rows.

    Raises `UserError` for pictures smaller than half a window.
    """
    from rilievo.ops.ssim import register

    if min(image.shape[:2]) <= len(window) // 2:
        raise clear(
            "pictures for SSIM",
            expected=f"at least {len(window) // 2 + 1} pixels a side",
            got=f"{image.shape[1]} x {image.shape[0]}",
            do="compare at a higher resolution",
        )
    number = torch.promote_types(image.dtype, torch.float32)
    found, *_ = register.similarity(image.to(number), target.detach().to(number), window.to(number), c1, c2)
    return found
