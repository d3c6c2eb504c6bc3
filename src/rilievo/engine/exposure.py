"""Exposure and white balance of each photograph, where a camera set them anew from shot to shot.

A photo's colours are A c + b of those the scene has, a 3x4 matrix [A | b] per training view, from the identity on
(Kerbl et al.'s code, 2024). Views that were not trained on are seen as the scene is.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Exposure(nn.Module):
    """One affine map of colours per view of the scene."""

    def __init__(self, views: int) -> None:
        super().__init__()
        self.affine = nn.Parameter(torch.eye(3, 4).repeat(views, 1, 1))

    def forward(self, rgb: Float[Tensor, "h w 3"], alpha: Float[Tensor, "h w"], view: int) -> Float[Tensor, "h w 3"]:
        """The scene's colours, premultiplied with opacity, as the photo of a view has them, premultiplied still."""
        return rgb @ self.affine[view, :, :3].mT + alpha[..., None] * self.affine[view, :, 3]
