"""A model's view of one camera as a row of labelled pictures beside the photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from .picture import depth_picture, grid, normal_picture, to_bytes

if TYPE_CHECKING:
    from rilievo.engine.method import Rendering


def rendering_grid(seen: Rendering, photo: UInt8[np.ndarray, "_h _w 3"] | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Photo, colour, depth, and where the model has them normals and background; the photo is shrunk to the view."""
    rgb, opacity = seen.rgb.numpy(), seen.opacity.numpy()
    pictures = {}
    if photo is not None:
        size = (rgb.shape[1], rgb.shape[0])
        pictures["photo"] = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX))
    pictures["rgb"] = to_bytes(rgb)
    pictures["depth"] = depth_picture(seen.depth.numpy(), opacity)
    if seen.normals is not None:
        pictures["normals"] = normal_picture(seen.normals.numpy(), opacity)
    if seen.background is not None:
        pictures["background"] = to_bytes(seen.background.numpy())
    return grid([list(pictures.values())], list(pictures))
