"""Transformer blocks with the norm before each part (CroCo v2, Weinzaepfel et al. 2023, arXiv:2211.10408).

The encoder's blocks see one picture; the decoder's also see the other one, through cross-attention.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from .attention import CrossAttention, Perceptron, SelfAttention
from .rope import Rotation

NORM_EPS = 1e-6
MLP_RATIO = 4
"""Hidden width of each block's perceptron, in multiples of its channels."""


def layer_norm(channels: int) -> nn.LayerNorm:
    return nn.LayerNorm(channels, eps=NORM_EPS)


class EncoderBlock(nn.Module):
    """x + attention, then + perceptron."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = layer_norm(channels)
        self.attn = SelfAttention(channels, heads)
        self.norm2 = layer_norm(channels)
        self.mlp = Perceptron(channels, MLP_RATIO * channels, channels)

    def forward(self, x: Float[Tensor, "b n c"], turn: Rotation) -> Float[Tensor, "b n c"]:
        x = x + self.attn(self.norm1(x), turn)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """x + attention within, + attention to the other picture's tokens y, + perceptron."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = layer_norm(channels)
        self.attn = SelfAttention(channels, heads)
        self.cross_attn = CrossAttention(channels, heads)
        self.norm2 = layer_norm(channels)
        self.norm3 = layer_norm(channels)
        self.mlp = Perceptron(channels, MLP_RATIO * channels, channels)
        self.norm_y = layer_norm(channels)

    def forward(
        self, x: Float[Tensor, "b n c"], y: Float[Tensor, "b m c"], turn_x: Rotation, turn_y: Rotation
    ) -> Float[Tensor, "b n c"]:
        x = x + self.attn(self.norm1(x), turn_x)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(y), turn_x, turn_y)
        return x + self.mlp(self.norm3(x))
