"""The three published heads: what follows a decoder's tokens, up to pointmaps.

Each takes the layers it asked for (`NetworkConfig.hooks`) and the upright size of the pictures. A patch's token holds
all pixels of the patch, channel by channel, and `pixel_shuffle` lays them out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .activations import Pointmaps, open_channels
from .attention import Perceptron
from .backbone import Layers
from .config import NetworkConfig
from .dpt_head import DptHead

POINT_CHANNELS = 4
"""A point and its confidence."""


class LinearHead(nn.Module):
    """One linear map of the last token (DUSt3R's first version)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.decoder.channels, POINT_CHANNELS * config.patch_px**2)

    def forward(self, layers: Layers, size_hw: tuple[int, int]) -> Pointmaps:
        raw = _laid_out(self.proj(layers[self.config.decoder.depth]), size_hw, self.config.patch_px)
        return open_channels(raw, self.config.depth_mode, self.config.conf_mode)


class ConvolutionalHead(nn.Module):
    """DPT for points and confidence (DUSt3R)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        tokens = (config.encoder.channels, *[config.decoder.channels] * 3)
        self.dpt = DptHead(config.dpt, tokens, config.patch_px, POINT_CHANNELS)

    def forward(self, layers: Layers, size_hw: tuple[int, int]) -> Pointmaps:
        return open_channels(self.dpt(layers, size_hw), self.config.depth_mode, self.config.conf_mode)


class DescriptorHead(ConvolutionalHead):
    """DPT for points, and for descriptors a perceptron on the encoder's and the decoder's tokens (MASt3R, §3.2)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        channels = config.encoder.channels + config.decoder.channels
        per_pixel = config.descriptor_channels + (config.desc_conf_mode is not None)
        self.head_local_features = Perceptron(channels, 4 * channels, per_pixel * config.patch_px**2)

    def forward(self, layers: Layers, size_hw: tuple[int, int]) -> Pointmaps:
        config = self.config
        tokens = torch.cat((layers[0], layers[config.decoder.depth]), dim=-1)
        features = _laid_out(self.head_local_features(tokens), size_hw, config.patch_px)
        raw = torch.cat((self.dpt(layers, size_hw), features), dim=1)
        return open_channels(
            raw, config.depth_mode, config.conf_mode, config.descriptor_channels, config.desc_conf_mode
        )


def head_of(config: NetworkConfig) -> LinearHead | ConvolutionalHead:
    """The head that the config names, with weights still to be loaded."""
    if config.head == "linear":
        return LinearHead(config)
    return DescriptorHead(config) if config.head == "catmlp+dpt" else ConvolutionalHead(config)


def _laid_out(
    tokens: Float[Tensor, "b n c"], size_hw: tuple[int, int], patch_px: int
) -> Float[Tensor, "b channels h w"]:
    """Tokens that hold whole patches, as a picture."""
    grid = (size_hw[0] // patch_px, size_hw[1] // patch_px)
    return F.pixel_shuffle(tokens.mT.unflatten(2, grid), patch_px)
