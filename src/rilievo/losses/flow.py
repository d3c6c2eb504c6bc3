"""Rendered optical flow against an estimate, over the pixels whose estimate is believed. Flows are [h, w, 2] in pixels;
the value is one number, for one picture. A mask that leaves nothing gives 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .ordinal_depth import correlation

EPS = 1e-5


def flow_l1(
    rendered: Float[Tensor, "h w 2"], target: Float[Tensor, "h w 2"], mask: Bool[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """Mean over pixels of |Δu| + |Δv|; published as a mean absolute error, but not divided by the two components."""
    return _mean((rendered - target).abs().sum(-1), mask)


def flow_l1_relative(
    rendered: Float[Tensor, "h w 2"], target: Float[Tensor, "h w 2"], mask: Bool[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """Half of `flow_l1` between flows that are each divided by their own longest vector: directions and proportions."""
    return flow_l1(_by_longest(rendered), _by_longest(target), mask) / 2


def flow_length(
    rendered: Float[Tensor, "h w 2"], target: Float[Tensor, "h w 2"], mask: Bool[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """Mean length of the difference: the endpoint error."""
    return _mean((rendered - target).norm(dim=-1), mask)


def flow_pearson(
    rendered: Float[Tensor, "h w 2"], target: Float[Tensor, "h w 2"], mask: Bool[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """1 - correlation, the mean of both components."""
    return 1 - torch.stack([correlation(rendered[mask][:, c], target[mask][:, c]) for c in (0, 1)]).mean()


def _by_longest(flow: Tensor) -> Tensor:
    return flow / (torch.linalg.vector_norm(flow, dim=-1).max() + EPS)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1)
