"""Light round a known surface as a picture of all directions that is learned texel by texel, and as what was seen of
the surface itself.

    log L(ω) = Σ_k T_k(u, v)          where the ray leaves: maps of doubling size, bilinear, u and v as in `environment`
    L(ω)     = L_sent(q, mirror at q)  where it meets the surface in q again

Coarse maps move the light of whole regions at once, fine ones sharpen it; a network of encoded directions
(`traced_light`) shows nothing finer than its highest band. What the surface sends on is no free unknown either: cameras
stood all around and have seen it (the photographs teach `sent`), and so reflections only look it up, as in "Modeling
Indirect Illumination for Inverse Rendering" (Zhang et al. 2022, arXiv:2204.06837).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .environment import panorama_place
from .light import Network, exp_radiance
from .traced_light import TracedLight


class LearnedPanorama(nn.Module):
    """Unit directions → log radiance, the sum of maps with `rows` rows and twice as many columns each."""

    def __init__(self, rows: Sequence[int], start: float) -> None:
        """The coarsest map starts at `start` everywhere, the others at 0."""
        super().__init__()
        self.maps = nn.ParameterList(torch.full((3, r, 2 * r), 0.0 if k else start) for k, r in enumerate(rows))

    def forward(self, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        u, v = panorama_place(directions.detach())
        total = torch.zeros_like(directions)
        for pixels in self.maps:
            width = pixels.shape[2]
            around = torch.cat([pixels[..., -1:], pixels, pixels[..., :1]], -1)  # the last column meets the first
            place = torch.stack([(u * width + 1) * 2 / (width + 2) - 1, v * 2 - 1], -1)
            seen = F.grid_sample(around[None], place[None, None], padding_mode="border", align_corners=False)
            total = total + seen[0, :, 0].mT
        return total


class PanoramaLight(TracedLight):
    """Direct light from a panorama, indirect light from a network of place and mirrored direction that the photographs
    teach: no gradient reaches it through reflections."""

    direct: LearnedPanorama

    def __init__(
        self, panorama: LearnedPanorama, sent: Network, *, encode_points: Network, degree: int, max_exponent: float
    ) -> None:
        super().__init__(
            panorama,
            sent,
            None,
            encode_points=encode_points,
            degree=degree,
            max_exponent=max_exponent,
            indirect_max_exponent=max_exponent,
        )

    def surroundings(self, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Direct light, from so far away that the place does not matter."""
        return exp_radiance(self.direct(directions), self.max_exponent)

    def sent(
        self, points: Float[Tensor, "n 3"], view_dirs: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "n 3"]:
        """Light from surface points towards an eye, to be compared with what one saw."""
        return super().from_surface(points, view_dirs, normals)

    @torch.no_grad()
    def from_surface(
        self, points: Float[Tensor, "n 3"], view_dirs: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"]
    ) -> Float[Tensor, "n 3"]:
        """The same for light that is reflected once more: looked up and not learned."""
        return super().from_surface(points, view_dirs, normals)
