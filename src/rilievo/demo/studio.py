"""The demo's photographer: cameras around the object, sphere tracing, and a soft light.

Light is a sky, brighter above, dimmed in creases by a few probes along the normal (Evans 2006), and one lamp; surfaces
are Lambertian. Each pixel averages `SAMPLES`² rays, whose hit fraction is its alpha.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.orientation import look_at
from rilievo.demo import amphora
from rilievo.shading.color import linear_to_srgb

SAMPLES = 2
DISTANCE = 3.2
FIELD_OF_VIEW_DEG = 33.0

_LAMP = torch.nn.functional.normalize(torch.tensor([0.5, -0.6, 0.65]), dim=0)


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
    t, hit = trace(rays.origins, rays.directions)
    light = torch.zeros(len(pixels), 3)
    light[hit] = shade(rays.at(t)[hit])
    alpha = hit.float().reshape(-1, SAMPLES**2).mean(dim=1, keepdim=True)
    color = light.reshape(-1, SAMPLES**2, 3).mean(dim=1) / alpha.clamp_min(1e-6)
    pixel = torch.cat([linear_to_srgb(color), alpha], dim=-1)
    return (pixel * 255).round().to(torch.uint8).reshape(height, width, 4).numpy()


def trace(
    origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"], steps: int = 96
) -> tuple[Float[Tensor, "r"], Bool[Tensor, "r"]]:
    """Distance to the amphora along unit rays, and whether it is met (Hart 1996); rays that miss have distance 0."""
    middle = -(origins * directions).sum(-1)
    reach = amphora.RADIUS**2 - ((origins + middle[:, None] * directions) ** 2).sum(-1)
    half = reach.clamp_min(0).sqrt()
    t, far = middle - half, middle + half
    going: Int[Tensor, "k"] = torch.nonzero(reach > 0)[:, 0]
    hit = torch.zeros(len(t), dtype=torch.bool)
    for _ in range(steps):
        distance = amphora.sdf(origins[going] + t[going, None] * directions[going])
        t[going] += distance / amphora.LIPSCHITZ
        hit[going[distance < 5e-4]] = True
        going = going[(distance >= 5e-4) & (t[going] < far[going])]
        if not len(going):
            break
    return torch.where(hit, t, 0.0), hit


def shade(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Linear RGB that leaves the surface at `points`, the same in all directions."""
    normals = amphora.normals(points)
    probes = (0.04, 0.10, 0.20)
    open_sky = torch.stack([(amphora.sdf(points + d * normals) / d).clamp(0, 1) for d in probes]).mean(dim=0)
    sky = (0.50 + 0.25 * normals[:, 2]) * open_sky
    lamp = 0.75 * (normals @ _LAMP).clamp_min(0) * open_sky.sqrt()
    return amphora.albedo(points) * (sky + lamp)[:, None]
