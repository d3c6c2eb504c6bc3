"""The pass of `misfit` over all points on a processor, each point read once.

A thread owns a block of pixel numbers in all views: the views' points there, the derivative with respect to them, and
its own rows of sums for every slot and view, which are added afterwards. So the result does not depend on the number of
threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import prange
from torch import Tensor

from rilievo.alignment.pointmap_graph.misfit import MIN_LENGTH
from rilievo.ops.threading import array, kernel

BLOCK = 1024
"""Pixels: what is kept of them for one slot fits the first-level cache."""

REORDER = {"reassoc", "nsz", "contract", "arcp"}
"""Sums may be taken in any order; NaN and infinity keep their meaning."""


def misfit_and_slopes(
    depth: Tensor,
    N: Tensor,
    t: Tensor,
    A: Tensor,
    t_edges: Tensor,
    pixels: Tensor,
    X: Tensor,
    weights: Tensor,
    slot_view: Tensor,
    squared: bool,
) -> tuple[Tensor, ...]:
    """As `misfit.misfit_and_slopes`."""
    total, *parts = slopes([array(each) for each in (depth, N, t, A, t_edges, pixels, X, weights, slot_view)], squared)
    return depth.new_tensor(total), *(torch.from_numpy(part).to(depth.dtype) for part in parts)


def slopes(
    inputs: Sequence[np.ndarray], squared: bool
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The same of contiguous arrays in the same order, from depth to slot_view; sums are left in double precision."""
    to_depth, by_slot, by_view = _pass(*inputs, squared, MIN_LENGTH)
    views, edges = by_view.sum(0), by_slot.sum(0).reshape(-1, 2, 13).sum(1)
    return (
        float(edges[:, 12].sum()),
        to_depth,
        views[:, :9].reshape(-1, 3, 3),
        views[:, 9:],
        -edges[:, :9].reshape(-1, 3, 3),
        -edges[:, 9:12],
    )


@kernel(fastmath=REORDER)
def _pass(depth, N, t, A, t_edges, pixels, X, weights, slot_view, squared, least):
    """The derivative with respect to depth; [blocks, slots, 13] with Σ g Xᵀ row by row, Σ g and the misfit; [blocks,
    views, 12] with Σ D G p̃ᵀ and Σ G."""
    slots, _, count = X.shape
    views = len(depth)
    number = depth.dtype.type
    blocks = (count + BLOCK - 1) // BLOCK
    world, G, to_depth = np.empty_like(pixels), np.zeros_like(pixels), np.empty_like(depth)
    by_slot, by_view = np.zeros((blocks, slots, 13)), np.zeros((blocks, views, 12))
    for b in prange(blocks):
        start, stop = b * BLOCK, min(count, (b + 1) * BLOCK)
        n = stop - start
        g = np.empty((3, n), depth.dtype)
        gx, gy, gz = g[0], g[1], g[2]
        for v in range(views):
            px, py, pz = pixels[v, 0, start:stop], pixels[v, 1, start:stop], pixels[v, 2, start:stop]
            D = depth[v, start:stop]
            for axis in range(3):
                a0, a1, a2, shift = N[v, axis, 0], N[v, axis, 1], N[v, axis, 2], t[v, axis]
                to = world[v, axis, start:stop]
                for p in range(n):
                    to[p] = D[p] * (a0 * px[p] + a1 * py[p] + a2 * pz[p]) + shift
        for s in range(slots):
            v, e = slot_view[s], s // 2
            x, y, z = X[s, 0, start:stop], X[s, 1, start:stop], X[s, 2, start:stop]
            w = weights[s, start:stop]
            for axis in range(3):
                a0, a1, a2, shift = A[e, axis, 0], A[e, axis, 1], A[e, axis, 2], t_edges[e, axis]
                seen, to = world[v, axis, start:stop], g[axis]
                for p in range(n):
                    to[p] = seen[p] - (a0 * x[p] + a1 * y[p] + a2 * z[p] + shift)
            total = number(0)
            if squared:
                for p in range(n):
                    total += w[p] * (gx[p] * gx[p] + gy[p] * gy[p] + gz[p] * gz[p])
                    gx[p] *= 2 * w[p]
                    gy[p] *= 2 * w[p]
                    gz[p] *= 2 * w[p]
            else:
                for p in range(n):
                    length = np.sqrt(gx[p] * gx[p] + gy[p] * gy[p] + gz[p] * gz[p])
                    total += w[p] * length
                    per_length = w[p] / max(length, number(least))
                    gx[p] *= per_length
                    gy[p] *= per_length
                    gz[p] *= per_length
            by_slot[b, s, 12] = total
            for axis in range(3):
                slope, to = g[axis], G[v, axis, start:stop]
                sx, sy, sz, s1 = number(0), number(0), number(0), number(0)
                for p in range(n):
                    to[p] += slope[p]
                    sx += slope[p] * x[p]
                    sy += slope[p] * y[p]
                    sz += slope[p] * z[p]
                    s1 += slope[p]
                by_slot[b, s, 3 * axis], by_slot[b, s, 3 * axis + 1], by_slot[b, s, 3 * axis + 2] = sx, sy, sz
                by_slot[b, s, 9 + axis] = s1
        for v in range(views):
            px, py, pz = pixels[v, 0, start:stop], pixels[v, 1, start:stop], pixels[v, 2, start:stop]
            D, to = depth[v, start:stop], to_depth[v, start:stop]
            to[:] = 0
            for axis in range(3):
                a0, a1, a2, slope = N[v, axis, 0], N[v, axis, 1], N[v, axis, 2], G[v, axis, start:stop]
                sx, sy, sz, s1 = number(0), number(0), number(0), number(0)
                for p in range(n):
                    to[p] += slope[p] * (a0 * px[p] + a1 * py[p] + a2 * pz[p])
                    sx += D[p] * slope[p] * px[p]
                    sy += D[p] * slope[p] * py[p]
                    sz += D[p] * slope[p] * pz[p]
                    s1 += slope[p]
                by_view[b, v, 3 * axis], by_view[b, v, 3 * axis + 1], by_view[b, v, 3 * axis + 2] = sx, sy, sz
                by_view[b, v, 9 + axis] = s1
    return to_depth, by_slot, by_view
