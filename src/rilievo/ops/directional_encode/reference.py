"""The definition: one l after the other, all its orders at once, in plain torch and any precision."""

import torch
from torch import Tensor


def directional_encode(
    directions: Tensor, roughness: Tensor, a: Tensor, b: Tensor, start: Tensor, degree: int
) -> Tensor:
    x, y, z = directions.split(1, dim=-1)
    wanted = [2**k for k in range(degree)]
    real, imaginary = _powers(x, y, wanted[-1])
    previous, current = torch.zeros_like(z), start[:1].expand_as(z)
    parts: list[list[Tensor]] = [[], []]
    for l in range(1, wanted[-1] + 1):
        lower = torch.nn.functional.pad(previous, (0, l - previous.shape[1]))
        inner = a[l, :l] * (z * current - b[l, :l] * lower)
        previous, current = current, torch.cat([inner, start[l].expand_as(z)], -1)
        if l in wanted:
            dimmed = current * torch.exp(-0.5 * l * (l + 1) * roughness)
            parts[0].append(dimmed * real[:, : l + 1])
            parts[1].append(dimmed * imaginary[:, : l + 1])
    return torch.cat(parts[0] + parts[1], -1)


def _powers(x: Tensor, y: Tensor, highest: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts of (x + iy)^m, m = 0 … highest."""
    real, imaginary = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(highest):
        r, i = real[-1], imaginary[-1]
        real.append(r * x - i * y)
        imaginary.append(r * y + i * x)
    return torch.cat(real, -1), torch.cat(imaginary, -1)
