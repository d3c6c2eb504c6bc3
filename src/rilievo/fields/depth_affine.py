"""An affine map of the image plane that depends on depth and time: the first step of OmniMotion's bijection (Wang et
al. 2023, arXiv:2306.05422).

(x, y) ← A(t, z) (x, y) + τ(t, z), z untouched, so it can be undone at the same t and z. A network reads sines and
cosines of z at π 2^k, then t and z as they are, and gives θ = (angle, log scale x, shift x, log scale y, shift y):

    A = [[cos·e^{θ₁}, -sin·e^{θ₁}], [sin·e^{θ₃}, cos·e^{θ₃}]],  τ = (θ₂, θ₄).

MoDGS's own class cannot run with it (shapes disagree there); this follows its ancestor.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .gabor import uniform_linear

LAYERS, WIDTH = 8, 256


class DepthAffine(nn.Module):
    """The map and its inverse; `frequencies` octaves of depth."""

    def __init__(
        self,
        frequencies: int = 5,
        *,
        width: int = WIDTH,
        layers: int = LAYERS,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.frequencies = frequencies
        sizes = [2 * frequencies + 2, *[width] * (layers - 1), 5]
        self.layers = nn.ModuleList(uniform_linear(a, b, 1 / math.sqrt(a), generator) for a, b in pairwise(sizes))

    def theta(self, x: Float[Tensor, "b n 3"], times: Float[Tensor, "b"]) -> Float[Tensor, "b n 5"]:
        depth = x[..., 2]
        phase = depth[..., None] * (math.pi * 2.0 ** torch.arange(self.frequencies, dtype=x.dtype, device=x.device))
        waves = torch.stack((phase.sin(), phase.cos()), dim=-1).flatten(-2)
        z = torch.cat((waves, times[:, None, None].expand(*depth.shape, 1), depth[..., None]), dim=-1)
        *hidden, last = self.layers
        for layer in hidden:
            z = F.relu_(F.linear(z, layer.weight, layer.bias))  # type: ignore[arg-type]  # from a ModuleList
        return F.linear(z, last.weight, last.bias)  # type: ignore[arg-type]  # a ModuleList does not say what it holds

    def to_canonical(self, x: Float[Tensor, "b n 3"], times: Float[Tensor, "b"]) -> Float[Tensor, "b n 3"]:
        angle, log_x, shift_x, log_y, shift_y = self.theta(x, times).unbind(-1)
        cos, sin = angle.cos(), angle.sin()
        first, second, depth = x.unbind(-1)
        moved_x = log_x.exp() * (cos * first - sin * second) + shift_x
        moved_y = log_y.exp() * (sin * first + cos * second) + shift_y
        return torch.stack((moved_x, moved_y, depth), dim=-1)

    def to_time(self, x: Float[Tensor, "b n 3"], times: Float[Tensor, "b"]) -> Float[Tensor, "b n 3"]:
        angle, log_x, shift_x, log_y, shift_y = self.theta(x, times).unbind(-1)
        cos, sin = angle.cos(), angle.sin()
        moved_x, moved_y, depth = x.unbind(-1)
        turned_x, turned_y = (moved_x - shift_x) * (-log_x).exp(), (moved_y - shift_y) * (-log_y).exp()
        return torch.stack((cos * turned_x + sin * turned_y, cos * turned_y - sin * turned_x, depth), dim=-1)
