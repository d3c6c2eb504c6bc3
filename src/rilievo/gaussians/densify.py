"""Adaptive density control (Kerbl et al. 2023, arXiv:2308.04079, section 5.2): clone, split, prune, reset.

Where the image still pulls at a Gaussian's place on screen, one is too few: a small one is doubled in place, a large
one gives way to two, drawn from it and 1.6 times smaller. Faint ones are removed. Now and then all opacities fall to
nearly nothing, and only what the photographs need comes back.

The published code also means to remove Gaussians that are large on screen, but forgets their radii whenever points are
appended, just before it asks; the test never fires and is left out here. What its setting really does is remove
Gaussians that are large in the world, which is `max_scale`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Optimizer

from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.rows import Gaussians, Rearrangement, forget, rearrange
from rilievo.gaussians.settings import DensifyConfig
from rilievo.gaussians.strategy import Strategy
from rilievo.geometry import so3

CHILD_SHRINK = 1.6
"""φ of section 5.2."""


class Densification(Strategy):
    """Gradients gathered since the last change, and the changes they lead to.

    `extent` is the size of the scene that thresholds are shares of, in world units.
    """

    grad_sum: Tensor
    times_seen: Tensor

    def __init__(self, config: DensifyConfig, count: int, extent: float) -> None:
        super().__init__()
        self.config, self.extent = config, extent
        self.register_buffer("grad_sum", torch.zeros(count))
        self.register_buffer("times_seen", torch.zeros(count))

    @torch.no_grad()
    def observe(self, screen_grad: Float[Tensor, "n 2"], visible: Bool[Tensor, "n"]) -> None:
        length = torch.linalg.vector_norm(screen_grad, dim=-1)
        self.grad_sum += torch.where(visible, length, 0)
        self.times_seen += visible

    @torch.no_grad()
    def advance(self, gaussians: Gaussians, optimizer: Optimizer, step: int, generator: torch.Generator) -> None:
        config = self.config
        if not 0 < step < config.end:
            return
        if step > config.start and step % config.every == 0:
            mean_grad = self.grad_sum / self.times_seen.clamp_min(1)
            noise = torch.randn(2, len(gaussians), 3, generator=generator).to(mean_grad)
            large = config.max_scale if step > config.reset_every else None
            new = densify(gaussians.cloud.detach(), mean_grad, noise, replace(config, max_scale=large), self.extent)
            rearrange(gaussians, optimizer, new)
            self.grad_sum, self.times_seen = (mean_grad.new_zeros(len(new.source)) for _ in range(2))
        if step % config.reset_every == 0:
            reset_opacities(gaussians, optimizer, config.reset_opacity)


def densify(
    cloud: GaussianCloud,
    mean_grad: Float[Tensor, "n"],
    noise: Float[Tensor, "2 n 3"],
    config: DensifyConfig,
    extent: float,
) -> Rearrangement:
    """The cloud after cloning, splitting and pruning.

    Its order: what stays, clones, first children, second children. `noise` is standard normal and places the children
    of the Gaussians that split. Where the cloud would outgrow `max_gaussians`, only the strongest gradients count.
    """
    largest = cloud.log_scales.exp().amax(-1)
    wanted = _strongest(mean_grad, config.grad_threshold, config.max_gaussians - len(cloud))
    small = largest <= config.dense * extent
    clones, splits = wanted & small, wanted & ~small
    every = torch.arange(len(cloud), device=mean_grad.device)
    children = [_children(cloud, splits, each[splits]) for each in noise]
    source = torch.cat([every[~splits], every[clones], every[splits], every[splits]])
    fresh = torch.arange(len(source), device=source.device) >= int((~splits).sum())
    grown = Rearrangement(
        GaussianCloud.concatenate([cloud[~splits], cloud[clones], *children]), source=source, fresh=fresh
    )
    kept = grown.cloud.opacities >= config.min_opacity
    if config.max_scale is not None:
        kept = kept & (grown.cloud.scales.amax(-1) <= config.max_scale * extent)
    return grown.keep(kept)


def reset_opacities(gaussians: Gaussians, optimizer: Optimizer, ceiling: float) -> None:
    """Let no opacity be above `ceiling`, and let Adam forget where opacities were heading."""
    logits = gaussians.get_parameter("opacity_logits")
    logits.data.clamp_(max=math.log(ceiling / (1 - ceiling)))
    forget(logits, optimizer)


def _strongest(mean_grad: Tensor, threshold: float, room: int) -> Bool[Tensor, "n"]:
    """Who asks for company: gradients from the threshold on, the `room` strongest of them (each adds one Gaussian)."""
    wanted = mean_grad >= threshold
    if int(wanted.sum()) <= room:
        return wanted
    chosen = torch.zeros_like(wanted)
    chosen[torch.argsort(mean_grad, descending=True, stable=True)[: max(room, 0)]] = True
    return wanted & chosen


def _children(cloud: GaussianCloud, splits: Tensor, noise: Float[Tensor, "s 3"]) -> GaussianCloud:
    """One child of each Gaussian that splits, at a point drawn from it."""
    parents = cloud[splits]
    offset = so3.matrix_from_quaternion(parents.quats) @ (parents.scales * noise)[..., None]
    return replace(
        parents,
        means=parents.means + offset.squeeze(-1),
        log_scales=parents.log_scales - math.log(CHILD_SHRINK),
    )
