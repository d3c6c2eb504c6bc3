"""Multi-head attention and the perceptron that follows it (Vaswani et al. 2017; Dosovitskiy et al. 2021).

Parameter names are those of CroCo's checkpoints: one matrix `qkv` for attention within a picture, `projq`, `projk`,
`projv` across two. Queries and keys are turned by their patch's position (`rope`).
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .rope import Rotation


class SelfAttention(nn.Module):
    """Every token of a picture looks at all tokens of the same picture."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "b n c"], turn: Rotation) -> Float[Tensor, "b n c"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(turn(q), turn(k), v)
        return self.proj(seen.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Every token of one picture looks at all tokens of another."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(channels, channels)
        self.projk = nn.Linear(channels, channels)
        self.projv = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)

    def forward(
        self, x: Float[Tensor, "b n c"], y: Float[Tensor, "b m c"], turn_x: Rotation, turn_y: Rotation
    ) -> Float[Tensor, "b n c"]:
        q, k, v = self._split(self.projq(x)), self._split(self.projk(y)), self._split(self.projv(y))
        seen = F.scaled_dot_product_attention(turn_x(q), turn_y(k), v)
        return self.proj(seen.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Perceptron(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, channels: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n o"]:
        return self.fc2(F.gelu(self.fc1(x)))
