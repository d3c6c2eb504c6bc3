"""Weights along packed rays, on the GPU.

Transmittance, its derivatives and the sums of the distortion loss are all one recurrence along the ray,

    y_i = b_{i-1} + c_{i-1} y_{i-1},        y_first given,

or the same from the far end. `_recurrence` solves it with one program per ray, a chunk of samples at a time, by an
associative scan; the rest are element-wise products that torch does. Symbols as in `cpu`.
"""

import torch
import triton.language as tl
from torch import Tensor

from rilievo.ops.gpu import jit
from rilievo.ops.packed import ray_index_from_offsets

CHUNK = 64  # samples that a program handles at once: about what a ray owns after empty space is skipped


def weights_from_alpha(alpha: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    transmittance = _transmittance(alpha, offsets)
    return transmittance * alpha, transmittance


def weights_backward(grad_weights: Tensor, grad_transmittance: Tensor, alpha: Tensor, offsets: Tensor) -> Tensor:
    beyond = _light_beyond(grad_weights, grad_transmittance, alpha, offsets)
    return _transmittance(alpha, offsets) * (grad_weights - beyond)


def weights_backward_twice(
    tangent: Tensor, grad_weights: Tensor, grad_transmittance: Tensor, alpha: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    passing = 1 - alpha
    transmittance = _transmittance(alpha, offsets)
    d_transmittance = _recurrence(passing, -transmittance * tangent, offsets)
    towards = grad_weights - _light_beyond(grad_weights, grad_transmittance, alpha, offsets)
    d_beyond = _recurrence(passing, tangent * towards, offsets, from_far_end=True)
    d_weights = d_transmittance * alpha + transmittance * tangent
    return d_weights, d_transmittance, d_transmittance * towards - transmittance * d_beyond


def sum_along_rays(values: Tensor, offsets: Tensor) -> Tensor:
    return accumulate(values.new_ones(len(values)), values, offsets)


def spread_along_rays(values: Tensor, offsets: Tensor, samples: int) -> Tensor:
    return values.index_select(0, ray_index_from_offsets(offsets, samples))


def accumulate(weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    rays, channels = len(offsets) - 1, values.shape[1]
    sums = values.new_empty(rays, channels)
    if sums.numel():
        _accumulate[(rays, channels)](weights.contiguous(), values.contiguous(), offsets, sums, channels, CHUNK)
    return sums


def accumulate_backward(grad: Tensor, weights: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    along = spread_along_rays(grad, offsets, len(weights))
    return (along * values).sum(dim=1), along * weights[:, None]


def distortion_pull(weights: Tensor, midpoints: Tensor, intervals: Tensor, offsets: Tensor) -> Tensor:
    moments = _moment_before(weights, midpoints, offsets) + _moment_beyond(weights, midpoints, offsets)
    return 2 * moments + (2 / 3) * weights * intervals


def _transmittance(alpha: Tensor, offsets: Tensor) -> Tensor:
    return _recurrence(1 - alpha, torch.zeros_like(alpha), offsets, first=1.0)


def _light_beyond(grad_weights: Tensor, grad_transmittance: Tensor, alpha: Tensor, offsets: Tensor) -> Tensor:
    """G_{i+1}, what the light that passes sample i still changes."""
    return _recurrence(1 - alpha, grad_transmittance + grad_weights * alpha, offsets, from_far_end=True)


def _moment_before(weights: Tensor, midpoints: Tensor, offsets: Tensor) -> Tensor:
    """Σ_{j<i} w_j (m_i - m_j), grown by the weight passed so far times each gap, so that nothing cancels."""
    ones = torch.ones_like(weights)
    passed = weights + _recurrence(ones, weights, offsets)
    gaps = torch.cat([midpoints[1:] - midpoints[:-1], midpoints[:1]])  # the last one leads nowhere
    return _recurrence(ones, passed * gaps, offsets)


def _moment_beyond(weights: Tensor, midpoints: Tensor, offsets: Tensor) -> Tensor:
    """Σ_{j>i} w_j (m_j - m_i), the same from the far end."""
    ones = torch.ones_like(weights)
    passed = weights + _recurrence(ones, weights, offsets, from_far_end=True)
    gaps = torch.cat([midpoints[:1], midpoints[1:] - midpoints[:-1]])  # the first one leads nowhere
    return _recurrence(ones, passed * gaps, offsets, from_far_end=True)


def _recurrence(
    factors: Tensor, terms: Tensor, offsets: Tensor, *, first: float = 0.0, from_far_end: bool = False
) -> Tensor:
    solution = torch.empty_like(factors)
    if solution.numel():
        _solve[(len(offsets) - 1,)](
            factors.contiguous(), terms.contiguous(), offsets, solution, first, from_far_end, CHUNK, num_warps=1
        )
    return solution


@jit
def _compose(c, b, c_next, b_next):
    """The map y → b + c y followed by the next one."""
    return c * c_next, b_next + c_next * b


@jit
def _solve(factors, terms, offsets, solution, first, from_far_end: tl.constexpr, chunk: tl.constexpr):
    ray = tl.program_id(0)
    near, end = tl.load(offsets + ray), tl.load(offsets + ray + 1)
    lane = tl.arange(0, chunk)
    carried = tl.zeros([1], dtype=solution.dtype.element_ty)
    for passed in range(0, end - near, chunk):
        along = passed + lane  # how many samples of the ray come before this one
        mine = along < end - near
        if from_far_end:
            sample, previous = end - 1 - along, end - along
        else:
            sample, previous = near + along, near + along - 1
        has_previous = mine & (along > 0)
        c = tl.load(factors + previous, mask=has_previous, other=0)
        b = tl.load(terms + previous, mask=has_previous, other=0)
        b = tl.where(along == 0, first, b).to(c.dtype)
        c, b = tl.associative_scan((c, b), 0, _compose)
        y = b + c * carried
        tl.store(solution + sample, y, mask=mine)
        carried = tl.sum(tl.where(lane == chunk - 1, y, 0), axis=0, keep_dims=True)


@jit
def _accumulate(weights, values, offsets, sums, channels, chunk: tl.constexpr):
    ray, channel = tl.program_id(0), tl.program_id(1)
    near, end = tl.load(offsets + ray), tl.load(offsets + ray + 1)
    total = tl.zeros([chunk], dtype=sums.dtype.element_ty)
    for begin in range(0, end - near, chunk):
        sample = near + begin + tl.arange(0, chunk)
        w = tl.load(weights + sample, mask=sample < end, other=0)
        v = tl.load(values + sample * channels + channel, mask=sample < end, other=0)
        total += w * v
    tl.store(sums + ray * channels + channel, tl.sum(total, axis=0))
