"""A batch of posed, calibrated cameras.

Axes are x right, y down, z forward; the centre of the pixel in column c and row r is at (c + 0.5, r + 0.5). Everything is
float64, because poses are solved and composed here; rays leave as float32 unless asked otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """n cameras; `cameras[i]`, `cameras[2:5]` and `cameras[[0, 3]]` are again `Cameras`.

    Distortion is OpenCV's: (k1, k2, k3, k4, k5, k6, p1, p2), rational radial terms and tangential ones, in this order. Where
    `fisheye` is true, k1 … k4 are instead the four coefficients of the equidistant model and the rest must be zero.
    """

    world_from_cam: Float64[Tensor, "n 4 4"]
    K: Float64[Tensor, "n 3 3"]
    sizes_px: Int64[Tensor, "n 2"]
    """Width, height."""
    distortion: Float64[Tensor, "n 8"]
    fisheye: Bool[Tensor, "n"]

    def __len__(self) -> int:
        return self.world_from_cam.shape[0]
