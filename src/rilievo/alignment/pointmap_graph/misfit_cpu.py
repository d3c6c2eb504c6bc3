"""The pass of `misfit` over all points on a processor, each point read once.

A thread owns a block of pixel numbers in all views: the derivative with respect to the views' points there, and its own
row of sums for every slot, which are added afterwards. So the result does not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from rilievo.alignment.pointmap_graph.misfit import MIN_LENGTH
from rilievo.ops.threading import array, kernel

BLOCK = 1024
"""Pixels: what is kept of them fits the first-level cache."""

REORDER = {"reassoc", "nsz", "contract", "arcp"}
"""Sums may be taken in any order; NaN and infinity keep their meaning."""


def misfit_and_slopes(
    world: Tensor, A: Tensor, t: Tensor, X: Tensor, weights: Tensor, slot_view: Tensor, squared: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `misfit.misfit_and_slopes`."""
    to_world = torch.zeros_like(world, memory_format=torch.contiguous_format)
    inputs = [array(each) for each in (world, A, t, X, weights, slot_view)]
    sums = torch.from_numpy(_pass(*inputs, squared, array(to_world), MIN_LENGTH)).sum(0).unflatten(0, (-1, 2)).sum(1)
    return sums[:, 12].sum().to(world), to_world, -sums[:, :9].unflatten(1, (3, 3)).to(A), -sums[:, 9:12].to(t)


@kernel(fastmath=REORDER)
def _pass(world, A, t, X, weights, slot_view, squared, to_world, least):
    """Adds to `to_world`; returns [blocks, slots, 13]: Σ g Xᵀ row by row, Σ g, and the misfit."""
    slots, _, pixels = X.shape
    blocks = (pixels + BLOCK - 1) // BLOCK
    sums = np.zeros((blocks, slots, 13))
    for b in prange(blocks):
        start, stop = b * BLOCK, min(pixels, (b + 1) * BLOCK)
        n = stop - start
        gx, gy, gz, lost = (
            np.empty(n, world.dtype),
            np.empty(n, world.dtype),
            np.empty(n, world.dtype),
            np.empty(n, world.dtype),
        )
        for s in range(slots):
            v, e = slot_view[s], s // 2
            wx, wy, wz = world[v, 0, start:stop], world[v, 1, start:stop], world[v, 2, start:stop]
            x, y, z = X[s, 0, start:stop], X[s, 1, start:stop], X[s, 2, start:stop]
            w = weights[s, start:stop]
            a, b_, c = A[e, 0, 0], A[e, 0, 1], A[e, 0, 2]
            d, f, g = A[e, 1, 0], A[e, 1, 1], A[e, 1, 2]
            h, i, j = A[e, 2, 0], A[e, 2, 1], A[e, 2, 2]
            tx, ty, tz = t[e, 0], t[e, 1], t[e, 2]
            for p in range(n):
                gx[p] = wx[p] - (a * x[p] + b_ * y[p] + c * z[p] + tx)
                gy[p] = wy[p] - (d * x[p] + f * y[p] + g * z[p] + ty)
                gz[p] = wz[p] - (h * x[p] + i * y[p] + j * z[p] + tz)
            if squared:
                for p in range(n):
                    lost[p] = w[p] * (gx[p] * gx[p] + gy[p] * gy[p] + gz[p] * gz[p])
                    gx[p] *= 2 * w[p]
                    gy[p] *= 2 * w[p]
                    gz[p] *= 2 * w[p]
            else:
                for p in range(n):
                    length = np.sqrt(gx[p] * gx[p] + gy[p] * gy[p] + gz[p] * gz[p])
                    lost[p] = w[p] * length
                    per_length = w[p] / max(length, least)
                    gx[p] *= per_length
                    gy[p] *= per_length
                    gz[p] *= per_length
            for axis, slope in enumerate((gx, gy, gz)):
                to = to_world[v, axis, start:stop]
                sx, sy, sz, s1 = world.dtype.type(0), world.dtype.type(0), world.dtype.type(0), world.dtype.type(0)
                for p in range(n):
                    to[p] += slope[p]
                    sx += slope[p] * x[p]
                    sy += slope[p] * y[p]
                    sz += slope[p] * z[p]
                    s1 += slope[p]
                sums[b, s, 3 * axis], sums[b, s, 3 * axis + 1], sums[b, s, 3 * axis + 2] = sx, sy, sz
                sums[b, s, 9 + axis] = s1
            total = 0.0
            for p in range(n):
                total += lost[p]
            sums[b, s, 12] = total
    return sums
