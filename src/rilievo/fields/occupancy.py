"""Which cells of space may hold something: the grid that lets a ray skip the rest (instant-ngp, appendix E.2).

Each cell keeps a running maximum of the opacity one marching step would find in it: decayed at every update, raised
by a fresh evaluation at a random point of the cell. A cell is occupied while that number exceeds min(threshold, mean
over the grid).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Evaluate = Callable[[Float[Tensor, "points 3"]], Float[Tensor, "points"]]
"""Points in the unit cube of the grid's (contracted) space → opacity of one marching step there."""


class OccupancyGrid(nn.Module):
    """A cube of `resolution`³ cells over [0, 1]³ of contracted space; axis order x, y, z. `ball` leaves out the
    corners of the cube, which lie beyond infinity where all of space is contracted into the inscribed ball.

    Until the first update every cell counts as occupied. Updates draw from a generator seeded with the step, so they
    are the same in every process and after a resume.
    """

    occupied: Bool[Tensor, "res res res"]
    opacity: Float[Tensor, "cells"]

    def __init__(self, resolution: int, threshold: float, decay: float = 0.95, *, ball: bool = False) -> None:
        super().__init__()
        self.resolution, self.threshold, self.decay = resolution, threshold, decay
        self.cells = torch.arange(resolution**3)
        if ball:
            distance = ((_corners(self.cells, resolution) + 0.5) / resolution - 0.5).norm(dim=-1)
            self.cells = self.cells[distance < 0.5 + 3**0.5 / 2 / resolution]
        self.register_buffer("opacity", torch.zeros(resolution**3))
        self.register_buffer("occupied", torch.ones(resolution, resolution, resolution, dtype=torch.bool))

    @torch.no_grad()
    def update(self, evaluate: Evaluate, *, seed: int, fraction: float = 1.0, chunk: int = 1 << 18) -> None:
        """Look again at a random `fraction` of all cells and at as many of the occupied ones."""
        generator = torch.Generator().manual_seed(seed)
        cells = self._choose(fraction, generator)
        self.opacity[cells] *= self.decay
        for part in cells.split(chunk):
            corner = _corners(part, self.resolution)
            jitter = torch.rand(len(part), 3, generator=generator).to(self.opacity.device)
            seen = evaluate((corner + jitter) / self.resolution)
            self.opacity[part] = torch.maximum(self.opacity[part], seen.to(self.opacity.dtype))
        limit = self.opacity[self.cells].mean().clamp_max(self.threshold)
        self.occupied = (self.opacity > limit).view_as(self.occupied)

    def _choose(self, fraction: float, generator: torch.Generator) -> Tensor:
        device = self.opacity.device
        if fraction >= 1:
            return self.cells.to(device)
        count = int(len(self.cells) * fraction)
        anywhere = self.cells[torch.randint(len(self.cells), (count,), generator=generator)].to(device)
        alive = self.occupied.flatten().nonzero().squeeze(1)
        if len(alive) > count:
            alive = alive[torch.randint(len(alive), (count,), generator=generator).to(device)]
        return torch.cat([anywhere, alive]).unique()


def _corners(cells: Tensor, resolution: int) -> Tensor:
    return torch.stack([cells // resolution**2, cells // resolution % resolution, cells % resolution], dim=-1)
