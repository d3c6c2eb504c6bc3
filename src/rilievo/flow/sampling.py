"""A field looked up between its pixels, in index coordinates: the centre of the first pixel is at (0, 0).

Published flow code samples at column + u, row + v with whole numbers at pixel centres. A flow is a difference of
positions, so it is the same in our convention (centres at +0.5); only the look-up knows of the offset, and it is here.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def index_grid(height: int, width: int, like: Float[Tensor, "..."]) -> Float[Tensor, "{height} {width} 2"]:
    """(column, row) of every pixel, on the device and in the dtype of `like`."""
    rows = torch.arange(height, device=like.device, dtype=like.dtype)
    columns = torch.arange(width, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


def sample(
    field: Float[Tensor, "fh fw c"],
    at: Float[Tensor, "h w 2"],
    *,
    size: tuple[int, int] | None = None,
    mode: Literal["bilinear", "bicubic", "nearest"] = "bilinear",
    outside: Literal["zeros", "border"] = "zeros",
) -> Float[Tensor, "h w c"]:
    """`field` at (column, row) positions; its corner pixels are the corners of an image of `size` (height, width).

    `size` is the field's own where None; a smaller field (features) is stretched over the image, corner on corner.
    """
    height, width = field.shape[:2] if size is None else size
    span = at.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    planes = field.permute(2, 0, 1)[None].to(at.dtype)
    found = F.grid_sample(planes, (2 * at / span - 1)[None], mode=mode, padding_mode=outside, align_corners=True)
    return found[0].permute(1, 2, 0)


def carried(
    field: Float[Tensor, "h w c"], flow: Float[Tensor, "h w 2"], mode: Literal["bilinear", "bicubic"] = "bilinear"
) -> Float[Tensor, "h w c"]:
    """The field of the other frame, brought back along `flow`: field(x + flow(x)), zero outside."""
    return sample(field, index_grid(flow.shape[0], flow.shape[1], flow) + flow, mode=mode)


def inside(at: Float[Tensor, "h w 2"]) -> Bool[Tensor, "h w"]:
    """Whether positions lie between the outermost pixel centres of an image of the same size."""
    height, width = at.shape[:2]
    return (at >= 0).all(-1) & (at[..., 0] <= width - 1) & (at[..., 1] <= height - 1)


def resize_flow(flow: Float[Tensor, "h w 2"], height: int, width: int) -> Float[Tensor, "{height} {width} 2"]:
    """The flow of a picture of another size: resampled bilinearly (pixel areas meet at the border, nothing is
    averaged), components scaled by the ratio of sizes.
    """
    planes = flow.permute(2, 0, 1)[None]
    resampled = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    return resampled * flow.new_tensor([width / flow.shape[1], height / flow.shape[0]])
