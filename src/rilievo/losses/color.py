"""How far a rendered colour is from the photo's, per ray, averaged over channels. Colours are sRGB in [0, 1]."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def l1(rgb: Float[Tensor, "rays 3"], target: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays"]:
    """Mean absolute difference: forgives the odd wrong pixel (a person walking by, a highlight)."""
    return (rgb - target).abs().mean(-1)


def mse(rgb: Float[Tensor, "rays 3"], target: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays"]:
    """Mean squared difference: what PSNR measures."""
    return (rgb - target).square().mean(-1)


def smooth_l1(
    rgb: Float[Tensor, "rays 3"], target: Float[Tensor, "rays 3"], beta: float = 0.25
) -> Float[Tensor, "rays"]:
    """Squared below `beta`, absolute above, joined smoothly (Girshick 2015); β times smaller than Huber's."""
    return F.smooth_l1_loss(rgb, target, beta=beta, reduction="none").mean(-1)


def charbonnier(
    rgb: Float[Tensor, "rays 3"], target: Float[Tensor, "rays 3"], eps: float = 1e-3
) -> Float[Tensor, "rays"]:
    """√(|difference|² + eps), over the channels together: the length of the colour error, smooth at zero (mip-NeRF
    360).
    """
    return ((rgb - target).square().sum(-1) + eps).sqrt()
