"""The dense prediction head (DPT, Ranftl et al. 2021, arXiv:2103.13413): tokens of four depths back to pixels.

Each depth becomes a feature map, at 4, 2, 1 and 1/2 times the patch grid, coarser the deeper its tokens. Then, from
coarse to fine, residual convolutions merge a map with the one before and double its resolution; the last map has half
the picture's resolution and is doubled once more in the head. Names are those of the published checkpoints, where each
`layer<k>_rn` goes also by the name `layer_rn.<k-1>`.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .backbone import Layers
from .config import DptConfig


class ResidualConvUnit(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FusionBlock(nn.Module):
    """Merges a finer map into a coarse one and doubles the result; the coarsest block has no finer map to merge."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        self.resConfUnit1 = ResidualConvUnit(channels)
        self.resConfUnit2 = ResidualConvUnit(channels)

    def forward(
        self, x: Float[Tensor, "b c h w"], finer: Float[Tensor, "b c h w"] | None = None
    ) -> Float[Tensor, "b c 2*h 2*w"]:
        if finer is not None:
            x = x + self.resConfUnit1(finer)
        return self.out_conv(_doubled(self.resConfUnit2(x)))


class Scratch(nn.Module):
    """The part of the head that works at one width."""

    def __init__(self, layer_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        same_width = [nn.Conv2d(c, channels, 3, padding=1, bias=False) for c in layer_channels]
        for k, conv in enumerate(same_width, start=1):
            self.add_module(f"layer{k}_rn", conv)
        self.layer_rn = nn.ModuleList(same_width)
        self.refinenet1 = FusionBlock(channels)
        self.refinenet2 = FusionBlock(channels)
        self.refinenet3 = FusionBlock(channels)
        self.refinenet4 = FusionBlock(channels)

    def forward(self, maps: list[Tensor]) -> Float[Tensor, "b c h w"]:
        fine, middle, coarse, coarsest = (conv(m) for conv, m in zip(self.layer_rn, maps))
        rows, columns = coarse.shape[-2:]  # halving rounds up, so doubling may overshoot an odd size
        x = self.refinenet4(coarsest)[..., :rows, :columns]
        return self.refinenet1(self.refinenet2(self.refinenet3(x, coarse), middle), fine)


class DptHead(nn.Module):
    """Raw channels per pixel out of the tokens of four layers."""

    def __init__(self, config: DptConfig, token_channels: tuple[int, ...], patch_px: int, out_channels: int) -> None:
        """`token_channels` of the four layers `config.hooks`."""
        super().__init__()
        self.hooks, self.patch_px = config.hooks, patch_px
        c0, c1, c2, c3 = config.layer_channels
        self.scratch = Scratch(config.layer_channels, config.channels)
        self.head = nn.Sequential(
            nn.Conv2d(config.channels, config.channels // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(config.channels // 2, config.last_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.last_channels, out_channels, 1),
        )
        t0, t1, t2, t3 = token_channels
        self.act_postprocess = nn.ModuleList(
            (
                nn.Sequential(nn.Conv2d(t0, c0, 1), nn.ConvTranspose2d(c0, c0, 4, stride=4)),
                nn.Sequential(nn.Conv2d(t1, c1, 1), nn.ConvTranspose2d(c1, c1, 2, stride=2)),
                nn.Sequential(nn.Conv2d(t2, c2, 1)),
                nn.Sequential(nn.Conv2d(t3, c3, 1), nn.Conv2d(c3, c3, 3, stride=2, padding=1)),
            )
        )

    def forward(self, layers: Layers, size_hw: tuple[int, int]) -> Float[Tensor, "b c h w"]:
        """Raw channels of upright pictures of `size_hw`."""
        grid = (size_hw[0] // self.patch_px, size_hw[1] // self.patch_px)
        maps = [
            reassemble(layers[hook].mT.unflatten(2, grid)) for hook, reassemble in zip(self.hooks, self.act_postprocess)
        ]
        return self.head(self.scratch(maps))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
