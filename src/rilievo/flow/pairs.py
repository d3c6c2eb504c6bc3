"""All pairs of a clip's frames: their flow, which of it to believe, and flow chained through the frames between
(OmniMotion, Wang et al. 2023, arXiv:2306.05422, appendix; as MoDGS uses it).

`flows[i, j]` [h, w, 2] leads from frame i to frame j. Two masks go with it: `cycle` (the round trip closes) and
`occluded` (hidden in frame j, yet reliable). Frames far apart must also look alike: cosine of features above ½.
Occlusion is judged between close frames alone.

Where a direct flow fails, going through the frames between may hold: flow(i, j) = flow(i, k) + flow(k, j)(x + flow(i,
k)) for k next to j. The published step replaces a failed flow by the chained one always, and believes it where the
chain was believed as far as k, target and source have colours closer than 0.3 and features alike. It works in place, so
a run that is repeated starts from what it overwrote; ours returns new tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.errors import clear
from rilievo.flow.consistency import absolute_consistency, occluded, similarity
from rilievo.flow.sampling import carried, index_grid, sample

FAR = 3
"""From this distance in frames on, features must agree and occlusion is not judged."""
ALIKE = 0.5
"""Least cosine of features."""
SAME_COLOR = 0.3
"""Largest distance of two colours in [0, 1]³ along a believed chain."""


@dataclass(frozen=True)
class FlowPairs:
    """Flow between all frames of a clip; the diagonal is zero and never believed."""

    flows: Float[Tensor, "t t h w 2"]
    cycle: Bool[Tensor, "t t h w"]
    occluded: Bool[Tensor, "t t h w"]

    def counts(self) -> Int64[Tensor, "t t"]:
        """Believed pixels of each pair, of either kind."""
        return (self.cycle.sum((2, 3)) + self.occluded.sum((2, 3))).long()

    def count_maps(self) -> Int64[Tensor, "t h w"]:
        """In how many frames each pixel's flow is believed."""
        return (self.cycle | self.occluded).sum(1)


def judged(flows: Float[Tensor, "t t h w 2"], features: Float[Tensor, "t fh fw c"] | None = None) -> FlowPairs:
    """Believe or doubt every pair's flow. Without features (None) far frames are judged by their round trip alone.

    Raises `UserError` for a clip of one frame, or flow that is not finite.
    """
    n = len(flows)
    if n < 2:
        raise clear("frames to pair", expected="at least two", got=str(n), do="give a longer clip")
    if not bool(flows.isfinite().all()):
        raise clear("flow", expected="finite numbers", got="NaN or infinity", do="compute the flow again")
    cycle = torch.zeros(flows.shape[:-1], dtype=torch.bool, device=flows.device)
    hidden = torch.zeros_like(cycle)
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            cycle[i, j] = absolute_consistency(flows[i, j], flows[j, i])
            if abs(i - j) < FAR:
                hidden[i, j] = occluded(flows[i, j], flows[j, i])
            elif features is not None:
                cycle[i, j] &= similarity(features[i], features[j], flows[i, j]) > ALIKE
    return FlowPairs(flows, cycle, hidden)


def chained(
    pairs: FlowPairs, images: Float[Tensor, "t h w 3"], features: Float[Tensor, "t fh fw c"] | None = None
) -> FlowPairs:
    """Replace doubted flow between frames that are not neighbours by flow through the frames between.

    `images` are colours in [0, 1]. What is chained counts as `cycle`, as it is published.
    """
    n = len(pairs.flows)
    flows, cycle = pairs.flows.clone(), pairs.cycle.clone()
    for i in range(n):
        for step in (1, -1):
            for j in range(i + 2 * step, n if step > 0 else -1, step):
                k = j - step
                doubted = ~(pairs.cycle[i, j] | pairs.occluded[i, j])
                through = flows[i, k] + carried(flows[k, j], flows[i, k])
                flows[i, j] = torch.where(doubted[..., None], through, flows[i, j])
                target = index_grid(through.shape[0], through.shape[1], through) + through
                color_change = (sample(images[j], target) - images[i]).norm(dim=-1)
                held = doubted & cycle[i, k] & (color_change < SAME_COLOR)
                if features is not None:
                    held &= similarity(features[i], features[j], through) > ALIKE
                cycle[i, j] |= held
    return FlowPairs(flows, cycle, pairs.occluded)


def exhaustive(
    images: Float[Tensor, "t h w 3"], flow_between: Callable[[int, int], Float[Tensor, "h w 2"]]
) -> Float[Tensor, "t t h w 2"]:
    """The table of all flows; `flow_between(i, j)` computes or reads one."""
    n, height, width = images.shape[:3]
    flows = images.new_zeros(n, n, height, width, 2)
    for i in range(n):
        for j in range(n):
            if i != j:
                flows[i, j] = flow_between(i, j)
    return flows
