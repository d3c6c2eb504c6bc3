"""What trains an invertible motion without pictures (MoDGS, Liu et al. 2024, arXiv:2406.00434, section 3.2): points
arrive where depth and flow say, and neighbours go together.

Flow that was matched wrongly leads far away; squared, a few such points outweigh all others. `forgiven` flattens the
cost of a squared miss s beyond δ² to 2δ² (√(1 + s/δ²) - 1), Charbonnier's, which is s for small misses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.fields.motion import InvertibleMotion
from rilievo.losses.smoothness import neighbor_smoothness

from .neighbors import nearest_neighbors


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


@dataclass(frozen=True)
class PairBatch:
    """Correspondences of several pairs, the same number from each."""

    source: Float[Tensor, "b n 3"]
    target: Float[Tensor, "b n 3"]
    start: Float[Tensor, "b"]
    end: Float[Tensor, "b"]
    neighbors: Int64[Tensor, "b_times_n k"] | None = None
    """Of each source point among those of its pair, rows of pairs one after the other."""

    def to(self, device: torch.device | str) -> PairBatch:
        near = None if self.neighbors is None else self.neighbors.to(device)
        return PairBatch(
            self.source.to(device), self.target.to(device), self.start.to(device), self.end.to(device), near
        )


def motion_losses(motion: InvertibleMotion, pairs: Correspondences | PairBatch) -> dict[str, Float[Tensor, "..."]]:
    """Per point: `flow`, the mean squared miss of the target over the three coordinates, and `smoothness`, where
    neighbours are given: the mean squared difference of displacement to them.
    """
    if isinstance(pairs, Correspondences):
        pairs = _alone(pairs)
    arrived = motion.carry(pairs.source, pairs.start, pairs.end)
    losses = {"flow": (arrived - pairs.target).square().mean(-1).flatten()}
    if pairs.neighbors is not None:
        losses["smoothness"] = neighbor_smoothness((arrived - pairs.source).flatten(0, 1), pairs.neighbors)
    return losses


def forgiven(squared: Float[Tensor, "*n"], beyond: float | None) -> Float[Tensor, "*n"]:
    """Charbonnier's cost of squared misses; the same where `beyond` is None."""
    if beyond is None:
        return squared
    return 2 * squared / ((1 + squared / beyond**2).sqrt() + 1)


def batched(pairs: Sequence[Correspondences], points: int, neighbors: int, generator: torch.Generator) -> PairBatch:
    """`points` correspondences of each pair, drawn without repetition where a pair has so many, and their `neighbors`
    nearest (none with 0). The longest pair alone sets their number where all pairs have fewer.
    """
    count = min(points, max(len(pair.source) for pair in pairs))
    chosen = [_drawn(len(pair.source), count, generator).to(pair.source.device) for pair in pairs]
    source = torch.stack([pair.source[which] for pair, which in zip(pairs, chosen)])
    near = None
    if neighbors:
        near = torch.cat([nearest_neighbors(row, neighbors) + k * count for k, row in enumerate(source)])
    return PairBatch(
        source=source,
        target=torch.stack([pair.target[which] for pair, which in zip(pairs, chosen)]),
        start=source.new_tensor([pair.start for pair in pairs]),
        end=source.new_tensor([pair.end for pair in pairs]),
        neighbors=near,
    )


def motion_optimizer(motion: InvertibleMotion, time_rate: float = 1e-3, space_rate: float = 1e-4) -> torch.optim.Adam:
    """Adam with the published rates: the features of time learn ten times faster than the coupling layers."""
    space = [p for name, p in motion.named_parameters() if not name.startswith("time.")]
    groups = [{"params": list(motion.time.parameters()), "lr": time_rate}, {"params": space, "lr": space_rate}]
    return torch.optim.Adam(groups)


def _alone(pairs: Correspondences) -> PairBatch:
    times = pairs.source.new_tensor([pairs.start, pairs.end])
    return PairBatch(pairs.source[None], pairs.target[None], times[:1], times[1:], pairs.neighbors)


def _drawn(available: int, count: int, generator: torch.Generator) -> Int64[Tensor, "count"]:
    """Indices below `available`; some come twice where there are fewer than `count`."""
    order = torch.randperm(available, generator=generator)
    return order.repeat(-(-count // available))[:count]
