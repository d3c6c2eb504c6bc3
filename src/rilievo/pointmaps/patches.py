"""Pictures as batches of patches, also where landscape and portrait pictures share a batch.

A tensor has one shape, so a portrait picture among landscape ones is stored *sideways*: its two image axes are swapped.
It is turned upright before it is cut into patches, and its patches keep the positions they have upright; both
orientations have equally many. (Published as `ManyAR_PatchEmbed`; without sideways pictures it is `PatchEmbedDust3R`.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from rilievo.errors import clear

from .rope import patch_positions


@dataclass(frozen=True)
class Views:
    """A batch of pictures for the network."""

    pixels: Float[Tensor, "b 3 h w"]
    """sRGB in [-1, 1], as `photo.normalized` makes them."""
    sideways: Bool[Tensor, "b"]
    """Which of them are stored with their image axes swapped."""

    @staticmethod
    def upright(pixels: Float[Tensor, "b 3 h w"]) -> Views:
        """Pictures that are stored as they are."""
        return Views(pixels, pixels.new_zeros(len(pixels), dtype=torch.bool))

    @staticmethod
    def stored_landscape(pixels: Float[Tensor, "b 3 h w"], sizes_hw: Int64[Tensor, "b 2"]) -> Views:
        """Pictures stored as landscapes, whose true heights and widths are `sizes_hw`: the portraits lie sideways.

        Raises `UserError` where a true size is neither the stored one nor the stored one swapped.
        """
        h, w = pixels.shape[-2:]
        short, long = sizes_hw.amin(1), sizes_hw.amax(1)
        if h > w or not bool(((short == h) & (long == w)).all()):
            raise clear(
                "true sizes of stored landscapes",
                expected=f"{h} x {w} or {w} x {h} (height x width), stored with the long side as width",
                got=f"{sizes_hw.tolist()} for pictures stored as {h} x {w}",
                do="swap the image axes of portraits before they join the batch",
            )
        return Views(pixels, (sizes_hw[:, 0] > sizes_hw[:, 1]).to(pixels.device))

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width as stored."""
        return self.pixels.shape[2], self.pixels.shape[3]


class PatchEmbedding(nn.Module):
    """One token per square patch: a linear map of its pixels."""

    def __init__(self, channels: int, patch_px: int) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.proj = nn.Conv2d(3, channels, patch_px, stride=patch_px)

    def forward(self, views: Views) -> Float[Tensor, "b n c"]:
        """Tokens in the order of each picture's upright rows.

        Raises `UserError` where height or width is not a whole number of patches.
        """
        h, w = views.size_hw
        if h % self.patch_px or w % self.patch_px:
            raise clear(
                "picture for the network",
                expected=f"height and width to be multiples of {self.patch_px} px",
                got=f"{h} x {w}",
                do="crop it (square pictures cut to 4:3 need a size that is a multiple of 64)",
            )
        pixels, sideways = views.pixels, views.sideways
        if not bool(sideways.any()):
            return self._tokens(pixels)
        if bool(sideways.all()):
            return self._tokens(pixels.mT)
        lying, standing = self._tokens(pixels), self._tokens(pixels[sideways].mT)
        lying[sideways] = standing
        return lying

    def positions(self, size_hw: tuple[int, int], sideways: Bool[Tensor, "b"]) -> Int64[Tensor, "#b n 2"]:
        """Upright (row, column) of each patch of pictures stored in `size_hw`; one for all where none lies sideways."""
        rows, columns = size_hw[0] // self.patch_px, size_hw[1] // self.patch_px
        lying = patch_positions(rows, columns, sideways.device)[None]
        if not bool(sideways.any()):
            return lying
        standing = patch_positions(columns, rows, sideways.device)[None]
        return torch.where(sideways[:, None, None], standing, lying)

    def _tokens(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).flatten(2).mT
