"""The demo's photographer: cameras spread around the object, and antialiased pictures of it.

Each pixel averages `SAMPLES`² rays, and the fraction of them that meets the object is its alpha.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import UInt8

from rilievo.cameras.camera import Cameras
from rilievo.cameras.orientation import look_at
from rilievo.demo import amphora
from rilievo.shading.color import linear_to_srgb

SAMPLES = 2
DISTANCE = 3.2
FIELD_OF_VIEW_DEG = 33.0


def cameras(count: int, size_px: int) -> Cameras:
    """Cameras spread evenly (Fibonacci's spiral) over a band of the sphere, looking at the origin; z is up."""
    turns = torch.arange(count, dtype=torch.float64)
    height = 0.90 - (turns + 0.5) / count * 1.45
    angle = turns * math.pi * (3 - math.sqrt(5))
    radius = torch.sqrt(1 - height**2)
    outward = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), height], dim=-1)
    pose = look_at(DISTANCE * outward, outward.new_zeros(3), outward.new_tensor([0, 0, 1]))
    focal = size_px / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG) / 2)
    K = torch.tensor([[focal, 0, size_px / 2], [0, focal, size_px / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras.pinhole(pose, K.repeat(count, 1, 1), torch.full((count, 2), size_px))


def photograph(view: Cameras) -> UInt8[np.ndarray, "h w 4"]:
    """One camera's sRGB picture with straight alpha."""
    width, height = view.sizes_px[0].tolist()
    offsets = (torch.arange(SAMPLES, dtype=torch.float64) + 0.5) / SAMPLES - 0.5
    shifts = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), dim=-1).reshape(-1, 2)
    pixels = (view.pixel_centers(0)[:, None] + shifts).reshape(-1, 2)
    rays = view.rays(torch.zeros(len(pixels), dtype=torch.int64), pixels)
    t, light = amphora.look(rays.origins, rays.directions)
    alpha = t.isfinite().float().reshape(-1, SAMPLES**2).mean(dim=1, keepdim=True)
    color = light.reshape(-1, SAMPLES**2, 3).mean(dim=1) / alpha.clamp_min(1e-6)
    pixel = torch.cat([linear_to_srgb(color), alpha], dim=-1)
    return (pixel * 255).round().to(torch.uint8).reshape(height, width, 4).numpy()
