"""The most similar descriptor, exactly: argmax of dot products, block by block.

For unit vectors this is the nearest neighbour. The products of a block of queries with a block of targets are a matrix
product, small enough to stay in the processor's cache, of which only each row's largest entry and its place are kept:
memory does not depend on how many descriptors there are.

Descriptors that cannot be compared, all zero or not finite, take no part: they are nobody's answer, and as queries they
get `NOBODY`. (In the published search one NaN answers every query of its image, or, searched in blocks, silences its
block, and a zero vector matches an arbitrary pixel.)
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numba import prange
from torch import Tensor

from rilievo.ops.threading import array, kernel

NOBODY = -1

CPU_BLOCK = (256, 1024)
"""Queries by targets: 1 MiB of products, within the second-level cache."""
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
        self._targets = targets[usable]

    def nearest(self, queries: Float[Tensor, "n d"]) -> Int64[Tensor, "n"]:
        """Index of the most similar target of each query, the lowest of equals; `NOBODY` where there is none."""
        queries = _comparable_dtype(queries)
        answer = torch.full_like(queries[:, 0], NOBODY, dtype=torch.int64)
        asked = comparable(queries).nonzero().flatten()
        if not len(self._place):
            return answer
        best = _best_cpu if queries.device.type == "cpu" else _best_device
        for some in asked.split(self.block[0]):
            answer[some] = self._place[best(queries[some], self._targets, self.block[1])]
        return answer


def comparable(descriptors: Float[Tensor, "n d"]) -> Bool[Tensor, "n"]:
    """Which descriptors are finite and not zero."""
    return descriptors.isfinite().all(dim=1) & (descriptors != 0).any(dim=1)


def _comparable_dtype(descriptors: Tensor) -> Tensor:
    """Half precisions are compared in single: ties among rounded products are common otherwise."""
    return descriptors.detach().to(torch.promote_types(descriptors.dtype, torch.float32))


def _best_cpu(queries: Tensor, targets: Tensor, width: int) -> Tensor:
    value = np.full(len(queries), -np.inf, dtype=array(queries[:0]).dtype)
    place = np.zeros(len(queries), dtype=np.int64)
    products = queries.new_empty(len(queries) * min(width, len(targets)))
    for start in range(0, len(targets), width):
        some = targets[start : start + width]
        block = products[: len(queries) * len(some)].view(len(queries), len(some))
        torch.mm(queries, some.mT, out=block)
        _keep_largest(block.numpy(), start, value, place)
    return torch.from_numpy(place)


def _best_device(queries: Tensor, targets: Tensor, width: int) -> Tensor:
    value = torch.full_like(queries[:, 0], -torch.inf)
    place = torch.zeros_like(value, dtype=torch.int64)
    for start in range(0, len(targets), width):
        block_value, block_place = (queries @ targets[start : start + width].mT).max(dim=1)
        better = block_value > value
        value = torch.where(better, block_value, value)
        place = torch.where(better, block_place + start, place)
    return place


@kernel(fastmath={"nnan", "nsz"})
def _keep_largest(products, start, value, place):
    """Update each row's largest value so far and its column, for the columns [start, start + width) in `products`.

    The maximum of a row is found first, which the compiler does many columns at a time; where it stands is looked up
    only in rows that have a new one.
    """
    rows, width = products.shape
    for q in prange(rows):
        row = products[q]
        largest = row[0]
        for t in range(width):
            largest = max(largest, row[t])
        if largest > value[q]:
            value[q] = largest
            t = 0
            while row[t] != largest:
                t += 1
            place[q] = start + t
