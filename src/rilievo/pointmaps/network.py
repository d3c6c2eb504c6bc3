"""DUSt3R and MASt3R as one network: backbone and two heads, told apart by their config.

Of the ordered pair (1, 2) the first head says where the pixels of picture 1 are and the second where those of picture
2 are, both in the frame of camera 1. Under `torch.autocast` to bfloat16 the blocks' products are in half precision; the
sums between blocks stay in float32, and so do the heads, whose output goes through exp.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .activations import Pointmaps
from .backbone import Backbone, Encoded, Layers
from .config import NetworkConfig
from .heads import ConvolutionalHead, LinearHead, head_of
from .patches import Views


@dataclass(frozen=True)
class TwoViews:
    """The network's answer for a batch of ordered pairs (1, 2)."""

    first: Pointmaps
    """Picture 1, in the frame of camera 1."""
    second: Pointmaps
    """Picture 2, also in the frame of camera 1."""


class PointmapNetwork(Backbone):
    """Parameters are named as in the published checkpoints; build it on the meta device and load them with
    `checkpoint.load_network`. Fresh ones are torch's defaults, not a starting point for training.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.downstream_head1 = head_of(config)
        self.downstream_head2 = head_of(config)

    def forward(self, first: Views, second: Views) -> TwoViews:
        """Pointmaps of the ordered pairs (first[k], second[k]). The two batches may differ in size."""
        if first.size_hw == second.size_hw:
            both = self.encode(
                Views(torch.cat((first.pixels, second.pixels)), torch.cat((first.sideways, second.sideways)))
            )
            n = len(first.pixels)
            return self.relate(both[:n], both[n:])
        return self.relate(self.encode(first), self.encode(second))

    def relate(self, first: Encoded, second: Encoded) -> TwoViews:
        """Pointmaps of pairs of pictures that were encoded before."""
        layers1, layers2 = self.decode(first, second, self.config.hooks)
        with torch.autocast(first.tokens.device.type, enabled=False):
            return TwoViews(
                _answer(self.downstream_head1, layers1, first), _answer(self.downstream_head2, layers2, second)
            )

    def symmetric(self, a: Views, b: Views) -> tuple[TwoViews, TwoViews]:
        """The pairs (a, b) and (b, a), each picture encoded once."""
        encoded_a, encoded_b = self.encode(a), self.encode(b)
        return self.relate(encoded_a, encoded_b), self.relate(encoded_b, encoded_a)


def _answer(head: LinearHead | ConvolutionalHead, layers: Layers, of: Encoded) -> Pointmaps:
    """A head works on upright pictures; the answer for one that is stored sideways is sideways too."""
    layers = {k: tokens.float() for k, tokens in layers.items()}
    (h, w), sideways = of.size_hw, of.sideways
    if not bool(sideways.any()):
        return head(layers, (h, w))
    if bool(sideways.all()):
        return head(layers, (w, h)).axes_swapped()
    lying = head(_rows(layers, ~sideways), (h, w))
    standing = head(_rows(layers, sideways), (w, h)).axes_swapped()
    return Pointmaps.mixed(lying, standing, sideways)


def _rows(layers: Layers, which: Tensor) -> Layers:
    return {k: tokens[which] for k, tokens in layers.items()}
