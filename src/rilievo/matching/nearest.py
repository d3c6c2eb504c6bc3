"""The most similar descriptor, exactly: argmax of dot products, block by block.

For unit vectors this is the nearest neighbour. The products of a block of queries with a block of targets are a matrix
product, small enough to stay in the processor's cache, of which only each row's largest entry and its place are kept:
memory does not depend on how many descriptors there are.

Descriptors that cannot be compared, all zero or not finite, take no part: they are nobody's answer, and as queries they
get `NOBODY`. (In the published search one NaN answers every query of its image, or, searched in blocks, silences its
block, and a zero vector matches an arbitrary pixel.)
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

NOBODY = -1

CPU_BLOCK = (1024, 1024)
"""Queries by targets: 4 MiB of products. Larger blocks leave the cache, smaller ones are mostly overhead."""
DEVICE_BLOCK = (4096, 16384)
"""The same on an accelerator: 256 MiB, which keeps it busy."""


class DescriptorSearch:
    """Descriptors made ready to be searched many times."""

    def __init__(self, targets: Float[Tensor, "m d"], block: tuple[int, int] | None = None) -> None:
        """`block` is the number of queries and of targets that are compared at once."""
        self.block = block or (CPU_BLOCK if targets.device.type == "cpu" else DEVICE_BLOCK)
        targets = _comparable_dtype(targets)
        usable = comparable(targets)
        self._place = usable.nonzero().flatten()  # in the caller's numbering
        self._targets = targets if len(self._place) == len(targets) else targets[usable]

    def nearest(self, queries: Float[Tensor, "n d"]) -> Int64[Tensor, "n"]:
        """Index of the most similar target of each query, the lowest of equals; `NOBODY` where there is none."""
        queries = _comparable_dtype(queries)
        answer = torch.full_like(queries[:, 0], NOBODY, dtype=torch.int64)
        asked = comparable(queries).nonzero().flatten()
        if not len(self._place):
            return answer
        for some in asked.split(self.block[0]):
            answer[some] = self._place[_best(queries[some], self._targets, self.block[1])]
        return answer


def comparable(descriptors: Float[Tensor, "n d"]) -> Bool[Tensor, "n"]:
    """Which descriptors are finite and not zero."""
    return descriptors.isfinite().all(dim=1) & (descriptors != 0).any(dim=1)


def _comparable_dtype(descriptors: Tensor) -> Tensor:
    """Half precisions are compared in single: ties among rounded products are common otherwise."""
    return descriptors.detach().to(torch.promote_types(descriptors.dtype, torch.float32))


def _best(queries: Tensor, targets: Tensor, width: int) -> Tensor:
    """Argmax of each query's products, `width` targets at a time.

    Only maxima are taken of every block, which is several times faster than maxima with their places; the place is
    looked up in the rows that have a new maximum, of which there are few after the first blocks.
    """
    value = torch.full_like(queries[:, 0], -torch.inf)
    place = torch.zeros_like(value, dtype=torch.int64)
    memory = queries.new_empty(len(queries) * min(width, len(targets)))
    for start in range(0, len(targets), width):
        some = targets[start : start + width]
        products = memory[: len(queries) * len(some)].view(len(queries), len(some))
        torch.mm(queries, some.mT, out=products)
        largest = products.amax(dim=1)
        better = (largest > value).nonzero().flatten()
        if len(better):
            value[better] = largest[better]
            place[better] = start + products[better].argmax(dim=1)
    return place
