"""Whole pictures from a model that sees rays."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.rays import Rays
from rilievo.engine.method import Rendering

CHUNK = {"cpu": 1 << 10, "cuda": 1 << 16}
"""Rays at once. On a CPU so few that a layer's activations stay in the cache and the allocator reuses their memory."""
HIT = 0.5
"""Opacity from which a pixel has a depth."""


@torch.no_grad()
def render_rays(
    look: Callable[[Rays], dict[str, Tensor]], cameras: Cameras, index: int, device: torch.device
) -> Rendering:
    """Assemble the view of one camera from what `look` says of its rays, chunk by chunk.

    `look` gives per ray `rgb`, `opacity`, `distance` (Σ w t), and where there are such `normals` (Σ w n) and
    `background`.
    """
    width, height = cameras.sizes_px[index].tolist()
    rays = cameras.view_rays(index)
    chunk = CHUNK.get(device.type, CHUNK["cpu"])
    parts = [
        {name: value.float().cpu() for name, value in look(rays[i : i + chunk].to(device)).items()}
        for i in range(0, len(rays), chunk)
    ]
    seen = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    opacity = seen["opacity"]
    along_z = rays.directions @ cameras.forwards[index].to(rays.directions)
    depth = torch.where(opacity > HIT, seen["distance"] / opacity.clamp_min(HIT) * along_z, 0)

    def image(values: Tensor) -> Tensor:
        return values.view(height, width, *values.shape[1:])

    return Rendering(
        rgb=image(seen["rgb"].clamp(0, 1)),
        opacity=image(opacity.clamp(0, 1)),
        depth=image(depth),
        normals=image(F.normalize(seen["normals"], dim=-1)) if "normals" in seen else None,
        background=image(seen["background"].clamp(0, 1)) if "background" in seen else None,
    )
