"""The two-view transformer of DUSt3R (Wang et al. 2024, arXiv:2312.14132, fig. 2), grown out of CroCo.

One encoder reads each picture alone. Two decoders with weights of their own, one for the picture that gives the frame
and one for the picture that is described in it, then run side by side; each of their blocks looks at what the other
decoder's previous block said.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .blocks import DecoderBlock, EncoderBlock, layer_norm
from .config import NetworkConfig
from .patches import PatchEmbedding, Views
from .rope import Rotation

Layers = dict[int, Tensor]
"""Tokens [b, n, c] after chosen blocks of a decoder: 0 is the encoder's output, k the output of decoder block k, the
last one normalised."""


@dataclass(frozen=True)
class Encoded:
    """What the encoder says of a batch of pictures, each seen alone."""

    tokens: Float[Tensor, "b n c"]
    size_hw: tuple[int, int]
    """Height and width of the pictures as stored, in pixels."""
    sideways: Bool[Tensor, "b"]
    """Which of them are stored with their image axes swapped."""

    def __getitem__(self, which: slice | Tensor) -> Encoded:
        return Encoded(self.tokens[which], self.size_hw, self.sideways[which])

    @staticmethod
    def concatenate(parts: list[Encoded]) -> Encoded:
        """Pictures of one stored size as one batch."""
        return Encoded(torch.cat([p.tokens for p in parts]), parts[0].size_hw, torch.cat([p.sideways for p in parts]))


class Backbone(nn.Module):
    """Encoder and twin decoders; the names of its parts are those of the published checkpoints."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        enc, dec = config.encoder, config.decoder
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dec.channels))  # of CroCo's pretraining: stored, never used
        self.patch_embed = PatchEmbedding(enc.channels, config.patch_px)
        self.enc_blocks = nn.ModuleList(EncoderBlock(enc.channels, enc.heads) for _ in range(enc.depth))
        self.enc_norm = layer_norm(enc.channels)
        self.decoder_embed = nn.Linear(enc.channels, dec.channels)
        self.dec_blocks = nn.ModuleList(DecoderBlock(dec.channels, dec.heads) for _ in range(dec.depth))
        self.dec_norm = layer_norm(dec.channels)
        self.dec_blocks2 = nn.ModuleList(DecoderBlock(dec.channels, dec.heads) for _ in range(dec.depth))

    def encode(self, views: Views) -> Encoded:
        """Read each picture alone. Raises `UserError` where a side is not a whole number of patches."""
        x = self.patch_embed(views).to(self.mask_token.dtype)  # also where blocks compute in half precision
        turn = self._turn(views.size_hw, views.sideways, self.config.encoder.head_channels)
        for block in self.enc_blocks:
            x = block(x, turn)
        return Encoded(self.enc_norm(x), views.size_hw, views.sideways)

    def decode(self, first: Encoded, second: Encoded, keep: Collection[int]) -> tuple[Layers, Layers]:
        """Let both pictures of each pair look at each other; the layers named in `keep`, of either decoder."""
        channels, last = self.config.decoder.head_channels, len(self.dec_blocks)
        turn1 = self._turn(first.size_hw, first.sideways, channels)
        turn2 = self._turn(second.size_hw, second.sideways, channels)
        kept1, kept2 = ({0: first.tokens}, {0: second.tokens}) if 0 in keep else ({}, {})
        x1, x2 = (self.decoder_embed(side.tokens).to(self.mask_token.dtype) for side in (first, second))
        for k, (block1, block2) in enumerate(zip(self.dec_blocks, self.dec_blocks2), start=1):
            x1, x2 = block1(x1, x2, turn1, turn2), block2(x2, x1, turn2, turn1)
            if k in keep:
                kept1[k], kept2[k] = (self.dec_norm(x1), self.dec_norm(x2)) if k == last else (x1, x2)
        return kept1, kept2

    def _turn(self, size_hw: tuple[int, int], sideways: Tensor, head_channels: int) -> Rotation:
        positions = cast(Tensor, self.patch_embed.positions(size_hw, sideways))
        return Rotation.at(positions, head_channels, self.config.rope_base)
