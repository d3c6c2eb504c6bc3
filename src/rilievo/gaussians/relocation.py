"""Gaussians as samples of a Markov chain (Kheradmand et al. 2024, arXiv:2404.09591): faint ones move to where opaque
ones are, and all of them walk a little.

N Gaussians at the place of one with opacity o and scales s must look as it did: opacity o' = 1 - (1 - o)^{1/N} each,
and scales s' = s · o / C with C = Σ_{i=1}^{N} Σ_{k=0}^{i-1} binom(i-1, k) (-1)^k o'^{k+1} / √(k+1) (eq. 9). Summing
over i first (the hockey-stick identity) leaves C = Σ_{j=1}^{N} binom(N, j) (-1)^{j-1} o'^j / √j, computed here.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.optim import Optimizer

from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.rows import Gaussians, Rearrangement, rearrange
from rilievo.gaussians.settings import RelocationConfig
from rilievo.gaussians.strategy import Strategy
from rilievo.geometry import so3

MAX_SHARERS = 51
"""Most Gaussians that one is thought to be divided among, as published; more would change C by little."""
HIGHEST_OPACITY = 1 - 1e-7
WALK_SHARPNESS, WALK_OPACITY = 100.0, 0.005
"""The walk fades out as σ(100 (0.005 - o)): only Gaussians about to be moved walk."""


class Relocation(Strategy):
    """Moves, growth and the walk; all drawn with the step's own generator, so nothing needs to be remembered."""

    def __init__(self, config: RelocationConfig) -> None:
        super().__init__()
        self.config = config

    def observe(self, screen_grad: Float[Tensor, "n 2"], visible: Bool[Tensor, "n"]) -> None:
        """Gradients have no say here."""

    @torch.no_grad()
    def advance(self, gaussians: Gaussians, optimizer: Optimizer, step: int, generator: torch.Generator) -> None:
        config = self.config
        if config.start < step < config.end and step % config.every == 0 and len(gaussians):
            draws = torch.rand(2, max(config.max_gaussians, len(gaussians)), generator=generator, dtype=torch.float64)
            dead = gaussians.cloud.opacities <= config.min_opacity
            rearrange(gaussians, optimizer, relocate(gaussians.cloud.detach(), dead, draws[0], config.min_opacity))
            wanted = min(config.max_gaussians, int(config.growth * len(gaussians)))
            if (count := wanted - len(gaussians)) > 0:
                new = divide(gaussians.cloud.detach(), draws[1, :count], config.min_opacity)
                rearrange(gaussians, optimizer, new)
        if step > 0 and config.noise:
            walk(gaussians, generator, config.noise * learning_rate(optimizer, gaussians.get_parameter("means")))


def relocate(
    cloud: GaussianCloud, dead: Bool[Tensor, "n"], draws: Float64[Tensor, "_"], min_opacity: float
) -> Rearrangement:
    """Dead Gaussians join living ones, chosen in proportion to opacity by numbers in [0, 1), one for each dead."""
    every = torch.arange(len(cloud), device=dead.device)
    if bool(dead.all()) or not bool(dead.any()):
        return Rearrangement(cloud, every, torch.zeros_like(dead))
    alive, lost = every[~dead], every[dead]
    hosts = alive[_choose(cloud.opacities[~dead], draws[: len(lost)])]
    source = every.clone()
    source[lost] = hosts
    return Rearrangement(_shared(cloud, hosts, min_opacity)[source], source, _touched(every, source, hosts))


def divide(cloud: GaussianCloud, draws: Float64[Tensor, "m"], min_opacity: float) -> Rearrangement:
    """m more Gaussians, appended, each beside one chosen in proportion to opacity."""
    every = torch.arange(len(cloud), device=cloud.means.device)
    hosts = _choose(cloud.opacities, draws)
    source = torch.cat([every, hosts])
    return Rearrangement(_shared(cloud, hosts, min_opacity)[source], source, _touched(every, source, hosts))


def shared_opacity_and_scale(
    opacity: Float64[Tensor, "n"], sharers: Int64[Tensor, "n"]
) -> tuple[Float64[Tensor, "n"], Float64[Tensor, "n"]]:
    """Opacity of each of `sharers` (N) Gaussians that together replace one, and the factor o / C of its scales."""
    N = sharers.to(opacity)
    shared = 1 - (1 - opacity) ** (1 / N)
    term, total = torch.ones_like(opacity), torch.zeros_like(opacity)
    for j in range(1, int(sharers.max()) + 1):
        term = term * -shared * (N - j + 1).clamp_min(0) / j  # binom(N, j) (-o')^j, 0 beyond j = N
        total -= term / j**0.5
    return shared, opacity / total


@torch.no_grad()
def walk(gaussians: Gaussians, generator: torch.Generator, size: float) -> None:
    """Move every mean by `size` · Σ η · σ(100 (0.005 - o)), η standard normal (eq. 8 of the paper)."""
    cloud = gaussians.cloud
    eta = torch.randn(len(cloud), 3, generator=generator).to(cloud.means)
    faint = torch.sigmoid(WALK_SHARPNESS * (WALK_OPACITY - cloud.opacities))
    R = so3.matrix_from_quaternion(cloud.quats)
    in_axes = (R * eta[:, :, None]).sum(1) * cloud.scales.square()  # Σ η = R S² Rᵀ η
    step = (R * in_axes[:, None]).sum(2) * (faint * size)[:, None]
    gaussians.get_parameter("means").add_(step)


def learning_rate(optimizer: Optimizer, parameter: Tensor) -> float:
    """Of the group a parameter is in."""
    return next(float(g["lr"]) for g in optimizer.param_groups if any(p is parameter for p in g["params"]))


def _choose(opacities: Tensor, draws: Tensor) -> Int64[Tensor, "m"]:
    """Rows in proportion to opacity, by the inverse of its cumulative sum."""
    total = opacities.double().cumsum(0)
    return torch.searchsorted(total, draws.to(total) * total[-1], right=True).clamp_max(len(total) - 1)


def _shared(cloud: GaussianCloud, hosts: Tensor, min_opacity: float) -> GaussianCloud:
    """The cloud with hosts as each of those that share their place is to be."""
    sharers = torch.bincount(hosts, minlength=len(cloud)).clamp_max(MAX_SHARERS - 1) + 1
    hosting = sharers > 1
    opacity, factor = shared_opacity_and_scale(cloud.opacities[hosting].double(), sharers[hosting])
    logits, scales = cloud.opacity_logits.clone(), cloud.log_scales.clone()
    logits[hosting] = torch.logit(opacity.clamp(min_opacity, HIGHEST_OPACITY)).to(logits)
    scales[hosting] += factor.log().to(scales)[:, None]
    return replace(cloud, opacity_logits=logits, log_scales=scales)


def _touched(every: Tensor, source: Tensor, hosts: Tensor) -> Bool[Tensor, "m"]:
    """Hosts and those who joined them: what Adam remembers of them is about a place they are no longer alone in."""
    hosting = torch.zeros(len(every), dtype=torch.bool, device=every.device)
    hosting[hosts] = True
    return hosting[source]
