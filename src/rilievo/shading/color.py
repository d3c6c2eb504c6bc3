"""The sRGB transfer curve (IEC 61966-2-1) between linear light and what files and screens hold."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def linear_to_srgb(linear: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Encode linear light for a screen, clamped to [0, 1]."""
    knee = 0.0031308
    powered = (
        1.055 * linear.clamp_min(knee).pow(1 / 2.4) - 0.055
    )  # clamped first: the unused branch must not give NaN gradients
    return torch.where(linear > knee, powered, 12.92 * linear).clamp(0.0, 1.0)


def srgb_to_linear(srgb: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Decode a screen's values in [0, 1] to linear light."""
    knee = 0.04045
    powered = ((srgb.clamp_min(knee) + 0.055) / 1.055).pow(2.4)
    return torch.where(srgb > knee, powered, srgb / 12.92)
