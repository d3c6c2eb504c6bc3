"""Weights along packed rays, on the processor: each thread walks whole rays, so any number of threads gives one result.

Symbols as in `reference`. Derivatives are recursions from the far end of the ray. With G_i = ∂L/∂T_i,

    G_i = ∂L/∂T_i directly + α_i ∂L/∂w_i + (1 - α_i) G_{i+1}        ∂L/∂α_i = T_i (∂L/∂w_i - G_{i+1})

which divides by nothing and so is exact where a sample is opaque, α = 1.
"""

import torch
from numba import prange
from torch import Tensor

from rilievo.ops.threading import array, kernel


def weights_from_alpha(alpha: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    weights, transmittance = _empty(alpha), _empty(alpha)
    _weights(array(alpha), array(offsets), array(weights), array(transmittance))
    return weights, transmittance


def weights_backward(grad_weights: Tensor, grad_transmittance: Tensor, alpha: Tensor, offsets: Tensor) -> Tensor:
    grad_alpha = _empty(alpha)
    _weights_backward(array(grad_weights), array(grad_transmittance), array(alpha), array(offsets), array(grad_alpha))
    return grad_alpha


def weights_backward_twice(
    tangent: Tensor, grad_weights: Tensor, grad_transmittance: Tensor, alpha: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    d_weights, d_transmittance, grad_alpha = _empty(alpha), _empty(alpha), _empty(alpha)
    _weights_backward_twice(
        array(tangent),
        array(grad_weights),
        array(grad_transmittance),
        array(alpha),
        array(offsets),
        array(d_weights),
        array(d_transmittance),
        array(grad_alpha),
    )
    return d_weights, d_transmittance, grad_alpha


def sum_along_rays(values: Tensor, offsets: Tensor) -> Tensor:
    sums = values.new_empty(len(offsets) - 1, values.shape[1])
    _sum_along_rays(array(values), array(offsets), array(sums))
    return sums


def spread_along_rays(values: Tensor, offsets: Tensor, samples: int) -> Tensor:
    spread = values.new_empty(samples, values.shape[1])
    _spread_along_rays(array(values), array(offsets), array(spread))
    return spread


def accumulate(weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    sums = values.new_empty(len(offsets) - 1, values.shape[1])
    _accumulate(array(weights), array(values), array(offsets), array(sums))
    return sums


def accumulate_backward(grad: Tensor, weights: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    grad_weights, grad_values = _empty(weights), _empty(values)
    _accumulate_backward(
        array(grad), array(weights), array(values), array(offsets), array(grad_weights), array(grad_values)
    )
    return grad_weights, grad_values


def distortion_pull(weights: Tensor, midpoints: Tensor, intervals: Tensor, offsets: Tensor) -> Tensor:
    pull = _empty(weights)
    _distortion_pull(array(weights), array(midpoints), array(intervals), array(offsets), array(pull))
    return pull


def _empty(like: Tensor) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype)


@kernel()
def _weights(alpha, offsets, weights, transmittance):
    one = alpha.dtype.type(1)
    for ray in prange(len(offsets) - 1):
        reaching = one
        for i in range(offsets[ray], offsets[ray + 1]):
            transmittance[i] = reaching
            weights[i] = reaching * alpha[i]
            reaching *= one - alpha[i]


@kernel()
def _weights_backward(grad_weights, grad_transmittance, alpha, offsets, grad_alpha):
    one = alpha.dtype.type(1)
    for ray in prange(len(offsets) - 1):
        reaching = one
        for i in range(offsets[ray], offsets[ray + 1]):  # T_i waits in the output's own memory
            grad_alpha[i] = reaching
            reaching *= one - alpha[i]
        beyond = one - one  # G_{i+1}
        for i in range(offsets[ray + 1] - 1, offsets[ray] - 1, -1):
            grad_alpha[i] *= grad_weights[i] - beyond
            beyond = grad_transmittance[i] + grad_weights[i] * alpha[i] + (one - alpha[i]) * beyond


@kernel()
def _weights_backward_twice(
    tangent, grad_weights, grad_transmittance, alpha, offsets, d_weights, d_transmittance, grad_alpha
):
    """How weights and transmittance move with α along `tangent`, and how ⟨tangent, ∂L/∂α⟩ depends on α."""
    one = alpha.dtype.type(1)
    for ray in prange(len(offsets) - 1):
        reaching, d_reaching = one, one - one
        for i in range(offsets[ray], offsets[ray + 1]):
            grad_alpha[i] = reaching
            d_transmittance[i] = d_reaching
            d_weights[i] = d_reaching * alpha[i] + reaching * tangent[i]
            d_reaching = d_reaching * (one - alpha[i]) - reaching * tangent[i]
            reaching *= one - alpha[i]
        beyond, d_beyond = one - one, one - one
        for i in range(offsets[ray + 1] - 1, offsets[ray] - 1, -1):
            towards = grad_weights[i] - beyond
            grad_alpha[i] = d_transmittance[i] * towards - grad_alpha[i] * d_beyond
            d_beyond = tangent[i] * towards + (one - alpha[i]) * d_beyond
            beyond = grad_transmittance[i] + grad_weights[i] * alpha[i] + (one - alpha[i]) * beyond


@kernel()
def _sum_along_rays(values, offsets, sums):
    for ray in prange(len(offsets) - 1):
        sums[ray] = 0
        for i in range(offsets[ray], offsets[ray + 1]):
            for c in range(values.shape[1]):
                sums[ray, c] += values[i, c]


@kernel()
def _spread_along_rays(values, offsets, spread):
    for ray in prange(len(offsets) - 1):
        for i in range(offsets[ray], offsets[ray + 1]):
            for c in range(values.shape[1]):
                spread[i, c] = values[ray, c]


@kernel()
def _accumulate(weights, values, offsets, sums):
    for ray in prange(len(offsets) - 1):
        sums[ray] = 0
        for i in range(offsets[ray], offsets[ray + 1]):
            for c in range(values.shape[1]):
                sums[ray, c] += weights[i] * values[i, c]


@kernel()
def _accumulate_backward(grad, weights, values, offsets, grad_weights, grad_values):
    zero = weights.dtype.type(0)
    for ray in prange(len(offsets) - 1):
        for i in range(offsets[ray], offsets[ray + 1]):
            along = zero
            for c in range(values.shape[1]):
                along += grad[ray, c] * values[i, c]
                grad_values[i, c] = grad[ray, c] * weights[i]
            grad_weights[i] = along


@kernel()
def _distortion_pull(weights, midpoints, intervals, offsets, pull):
    """2 Σ_j w_j |m_i - m_j| + ⅔ w_i δ_i, by sums that grow from both ends of the ray and never cancel."""
    zero = weights.dtype.type(0)
    two, two_thirds = weights.dtype.type(2), weights.dtype.type(2 / 3)
    for ray in prange(len(offsets) - 1):
        first, end = offsets[ray], offsets[ray + 1]
        passed, moment = zero, zero  # Σ w_j and Σ w_j (m_i - m_j) over j < i
        for i in range(first, end):
            if i > first:
                moment += passed * (midpoints[i] - midpoints[i - 1])
            pull[i] = two * moment + two_thirds * weights[i] * intervals[i]
            passed += weights[i]
        passed, moment = zero, zero  # the same over j > i
        for i in range(end - 1, first - 1, -1):
            if i < end - 1:
                moment += passed * (midpoints[i + 1] - midpoints[i])
            pull[i] += two * moment
            passed += weights[i]
