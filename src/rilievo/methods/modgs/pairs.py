"""Flow between the frames of a clip: which pairs, from whom, and where it is believed.

Flow methods lose what moves farther than it is large, and then find the same wrong match on the way back. Between
frames that are not neighbours the second frame is therefore brought back first, along the flow through a frame between
them, and what is left is computed (`flow.chain`). A pair's flow is believed where its round trip closes
(`flow.consistency`) between similar colours. Flow from files is chained where none leads from the one frame to the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.errors import clear
from rilievo.flow.chain import refined
from rilievo.flow.consistency import cycle_error
from rilievo.flow.pairs import SAME_COLOR
from rilievo.flow.provider import provider
from rilievo.flow.sampling import carried

from .clip import Clip
from .config import ClipConfig

FILES = "files"

Between = Callable[[int, int], Float[Tensor, "h w 2"]]
Refine = Callable[[int, int, Float[Tensor, "h w 2"]], Float[Tensor, "h w 2"]]


class FlowPairs:
    """`flow(i, j)` of the pairs (i, j) in `pairs`, both ways each, held in half precision."""

    def __init__(self, clip: Clip, config: ClipConfig) -> None:
        self.cycle_px, self.photos = config.cycle_px, clip.photos
        self.given = config.flow == FILES
        between, self._refine = _from_files(clip) if self.given else _computed(clip, config)
        n = len(clip)
        self._flows = {(i, j): between(i, j).half() for i in range(n) for j in (i - 1, i + 1) if 0 <= j < n}
        apart = sorted(set(config.reach) or set(range(1, n)))
        self.pairs = [(i, j) for i in range(n) for j in range(n) if abs(i - j) in apart]
        for distance in apart:
            for pair in self.pairs:
                if abs(pair[0] - pair[1]) == distance > 1:
                    self._flows[pair] = self._refine(*pair, self._chain(*pair)).half()

    def flow(self, i: int, j: int) -> Float[Tensor, "h w 2"]:
        """From frame i to frame j, in pixels."""
        return self._flows[i, j].float()

    def believed(self, i: int, j: int) -> Bool[Tensor, "h w"]:
        """Where the flow from i to j and back ends within `cycle_px` of its beginning, and, where it was computed from
        colours, joins similar ones.
        """
        flow = self.flow(i, j)
        closes = cycle_error(flow, self.flow(j, i)) < self.cycle_px
        if self.given:
            return closes
        first, second = (self.photos[k].float() / 255 for k in (i, j))
        return closes & ((carried(second, flow) - first).norm(dim=-1) < SAME_COLOR)

    def partners(self, i: int) -> list[int]:
        """Frames that frame i is paired with."""
        return [j for k, j in self.pairs if k == i]

    def _chain(self, i: int, j: int) -> Float[Tensor, "h w 2"]:
        """Through the farthest frames between that are known already."""
        if (i, j) in self._flows:
            return self.flow(i, j)
        way = 1 if j > i else -1
        k = next(k for k in range(j - way, i, -way) if (i, k) in self._flows)
        near = self.flow(i, k)
        return near + carried(self._chain(k, j), near)


def _computed(clip: Clip, config: ClipConfig) -> tuple[Between, Refine]:
    compute = provider(config.flow, Path(config.flow_weights) if config.flow_weights else None)
    photos = clip.photos.numpy()

    def between(i: int, j: int) -> Float[Tensor, "h w 2"]:
        return torch.from_numpy(compute(photos[i], photos[j]))

    def refine(i: int, j: int, chain: Float[Tensor, "h w 2"]) -> Float[Tensor, "h w 2"]:
        return refined(compute, photos[i], photos[j], chain)

    return between, refine


def _from_files(clip: Clip) -> tuple[Between, Refine]:
    filed = clip.filed_flow
    assert filed is not None, "a clip that was read from a scene"
    if clip.straightened:
        raise clear(
            "--clip.flow files",
            expected="frames without lens distortion, since flow belongs to their pixels",
            got="distorted ones",
            do="leave --clip.flow at dis, which looks at straightened frames",
        )

    def direct(i: int, j: int, chain: Float[Tensor, "h w 2"]) -> Float[Tensor, "h w 2"]:
        flow = filed.direct(i, j)
        return chain if flow is None else flow

    return filed.through, direct
