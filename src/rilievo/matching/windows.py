"""Windows: rectangles of whole pixels, cut out of a photo that is too large to be looked at whole.

A window holds the positions low <= (x, y) < high. `Windows.tiling` covers a photo with overlapping windows of its own
shape; `Windows.around` lays windows of a shape that a network takes about given places, inside the photo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from rilievo.errors import clear

PATCH = 16
"""Tiles are whole numbers of the network's patches high and wide."""
SHORT_SIDE = 3.01 / 4
"""Short to long side where no shape is asked for: the 3:4 that networks are trained on, with room for rounding."""


@dataclass(frozen=True)
class Windows:
    """Some windows of one photo. Build them with `tiling` or `around`."""

    low: Int64[Tensor, "n 2"]
    """First column and row."""
    high: Int64[Tensor, "n 2"]
    """The column and row after the last."""

    @classmethod
    def tiling(cls, photo_hw: tuple[int, int], long_side_px: int, overlap: float) -> Windows:
        """Tiles of the photo's shape that cover it, row by row; neighbours share at least `overlap` of their extent.

        Raises `UserError` for a tile larger than the photo or less than a patch high, and an overlap not in [0, 1).
        """
        if not 0 <= overlap < 1:
            raise clear("overlap of crops", expected="at least 0 and less than 1", got=str(overlap), do="0.5 is usual")
        tile = [side * long_side_px // max(photo_hw) // PATCH * PATCH for side in photo_hw]
        if any(not PATCH <= part <= whole for part, whole in zip(tile, photo_hw)):
            raise clear(
                f"crops of a {photo_hw[1]}x{photo_hw[0]} photo",
                expected=f"between {PATCH} px and the photo's size",
                got=f"{tile[1]}x{tile[0]} for a long side of {long_side_px}",
                do="match a photo as small as this whole",
            )
        rows, columns = (_spread(whole - part, part * (1 - overlap)) for whole, part in zip(photo_hw, tile))
        low = torch.cartesian_prod(rows, columns).flip(1)
        return cls(low, low + torch.tensor(tile[::-1]))

    @classmethod
    def around(
        cls,
        center: Float[Tensor, "n 2"],
        extent: Float[Tensor, "n 2"],
        photo_hw: tuple[int, int],
        shape_hw: tuple[int, int] | None = None,
    ) -> Windows:
        """Windows about `center` of exactly `shape_hw`, or else as long as `extent` is and 3:4; moved into the photo.

        Raises `UserError` where the shape exceeds the photo.
        """
        whole = center.new_tensor(photo_hw[::-1])
        if shape_hw is None:
            shape = _three_by_four(extent, whole)
        else:
            _check_shape(shape_hw, photo_hw)
            shape = center.new_tensor(shape_hw[::-1]).expand_as(center)
        side = shape.long()
        low = ((center + shape / 2).floor().long() - side).clamp_min(0).minimum(whole.long() - side)
        return cls(low, low + side)

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, which: Tensor) -> Windows:
        return Windows(self.low[which], self.high[which])

    def and_then(self, others: Windows) -> Windows:
        """These, then the others."""
        return Windows(torch.cat((self.low, others.low)), torch.cat((self.high, others.high)))

    @property
    def center(self) -> Float64[Tensor, "n 2"]:
        return (self.low + self.high).double() / 2

    @property
    def extent(self) -> Float64[Tensor, "n 2"]:
        """Width and height."""
        return (self.high - self.low).double()

    @property
    def corners(self) -> list[tuple[int, int, int, int]]:
        """(left, top, right, bottom) of each."""
        return [(x0, y0, x1, y1) for (x0, y0), (x1, y1) in zip(self.low.tolist(), self.high.tolist())]

    def hold(self, xy: Float[Tensor, "m 2"]) -> Bool[Tensor, "n m"]:
        """Which window holds which position."""
        return ((xy >= self.low[:, None]) & (xy < self.high[:, None])).all(-1)

    def offsets(self, xy: Float[Tensor, "m 2"]) -> Float64[Tensor, "n m 2"]:
        """Positions as seen from the middle of each window, in units of its width and height."""
        return (xy.double() - self.center[:, None]) / self.extent[:, None]


def _spread(room: int, stride: float) -> Int64[Tensor, "n"]:
    """Starts of as few tiles as reach from 0 to `room` in equal steps of at most `stride`."""
    return torch.linspace(0, room, 1 + math.ceil(room / stride), dtype=torch.float64).round().long()


def _three_by_four(extent: Tensor, whole: Tensor) -> Tensor:
    """The extent with its shorter side made three quarters of its longer one, where the photo allows it."""
    lying = extent[:, :1] >= extent[:, 1:]
    longer = torch.where(lying, extent[:, :1].minimum(whole[0]), extent[:, 1:].minimum(whole[1]))
    sides = torch.where(lying, extent.new_tensor((1.0, SHORT_SIDE)), extent.new_tensor((SHORT_SIDE, 1.0)))
    return (longer * sides).minimum(whole)


def _check_shape(shape_hw: tuple[int, int], photo_hw: tuple[int, int]) -> None:
    if shape_hw[0] > photo_hw[0] or shape_hw[1] > photo_hw[1]:
        raise clear(
            f"crops of a {photo_hw[1]}x{photo_hw[0]} photo",
            expected="at most its size",
            got=f"{shape_hw[1]}x{shape_hw[0]}",
            do="match a photo as small as this whole",
        )
