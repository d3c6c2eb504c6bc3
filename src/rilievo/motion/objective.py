"""What trains an invertible motion without pictures (MoDGS, Liu et al. 2024, arXiv:2406.00434, section 3.2): points
arrive where depth and flow say, and neighbours go together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.fields.motion import InvertibleMotion
from rilievo.losses.smoothness import neighbor_smoothness


@dataclass(frozen=True)
class Correspondences:
    """Points of one time and where they are at another."""

    source: Float[Tensor, "n 3"]
    target: Float[Tensor, "n 3"]
    start: float
    end: float
    """Times in [0, 1]."""
    neighbors: Int64[Tensor, "n k"] | None = None
    """Of each source point among the others, for smoothness."""


def motion_losses(motion: InvertibleMotion, pairs: Correspondences) -> dict[str, Float[Tensor, "..."]]:
    """Per point: `flow`, the mean squared miss of the target over the three coordinates, and `smoothness`, where
    neighbours are given: the mean squared difference of displacement to them.
    """
    times = pairs.source.new_tensor([pairs.start, pairs.end])
    arrived = motion.carry(pairs.source[None], times[:1], times[1:])[0]
    losses = {"flow": (arrived - pairs.target).square().mean(-1)}
    if pairs.neighbors is not None:
        losses["smoothness"] = neighbor_smoothness(arrived - pairs.source, pairs.neighbors)
    return losses


def motion_optimizer(motion: InvertibleMotion, time_rate: float = 1e-3, space_rate: float = 1e-4) -> torch.optim.Adam:
    """Adam with the published rates: the features of time learn ten times faster than the coupling layers."""
    space = [p for name, p in motion.named_parameters() if not name.startswith("time.")]
    groups = [{"params": list(motion.time.parameters()), "lr": time_rate}, {"params": space, "lr": space_rate}]
    return torch.optim.Adam(groups)
