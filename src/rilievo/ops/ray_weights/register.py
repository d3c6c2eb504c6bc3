"""The kernels of ray weights as torch operators, and their derivatives.

The derivative of every operator is again one of these operators, so everything can be differentiated as often as
needed, but for the weights, which stop at the second derivative; autograd says so if asked for a third.
"""

from typing import Any

from torch import Tensor

from rilievo.ops.library import operator
from rilievo.ops.ray_weights import cpu


def _like(tensor: Tensor) -> Tensor:
    return tensor.new_empty(tensor.shape)


def _per_ray(values: Tensor, offsets: Tensor) -> Tensor:
    return values.new_empty(offsets.shape[0] - 1, values.shape[1])


def _save_inputs(ctx: Any, inputs: tuple, output: Any) -> None:
    ctx.save_for_backward(*inputs)


weights_from_alpha = operator(cpu.weights_from_alpha, fake=lambda alpha, offsets: (_like(alpha), _like(alpha)))
weights_backward = operator(cpu.weights_backward, fake=lambda gw, gt, alpha, offsets: _like(alpha))
weights_backward_twice = operator(
    cpu.weights_backward_twice,
    fake=lambda tangent, gw, gt, alpha, offsets: (_like(alpha), _like(alpha), _like(alpha)),
)
sum_along_rays = operator(cpu.sum_along_rays, fake=_per_ray)
spread_along_rays = operator(
    cpu.spread_along_rays, fake=lambda values, offsets, samples: values.new_empty(samples, values.shape[1])
)
accumulate = operator(cpu.accumulate, fake=lambda weights, values, offsets: _per_ray(values, offsets))
accumulate_backward = operator(
    cpu.accumulate_backward, fake=lambda grad, weights, values, offsets: (_like(weights), _like(values))
)
distortion_pull = operator(cpu.distortion_pull, fake=lambda weights, midpoints, intervals, offsets: _like(weights))


def _weights_from_alpha(ctx: Any, grad_weights: Tensor, grad_transmittance: Tensor) -> tuple:
    alpha, offsets = ctx.saved_tensors
    return weights_backward(grad_weights, grad_transmittance, alpha, offsets), None


def _weights_backward(ctx: Any, tangent: Tensor) -> tuple:
    return *weights_backward_twice(tangent, *ctx.saved_tensors), None


def _sum_along_rays(ctx: Any, grad: Tensor) -> tuple:
    return spread_along_rays(grad, ctx.offsets, ctx.samples), None


def _save_layout(ctx: Any, inputs: tuple, output: Any) -> None:
    values, ctx.offsets = inputs[:2]
    ctx.samples = values.shape[0]


def _spread_along_rays(ctx: Any, grad: Tensor) -> tuple:
    return sum_along_rays(grad, ctx.offsets), None, None


def _accumulate(ctx: Any, grad: Tensor) -> tuple:
    return *accumulate_backward(grad, *ctx.saved_tensors), None


def _accumulate_backward(ctx: Any, to_weights: Tensor, to_values: Tensor) -> tuple:
    """The form Σ grad · w · v is linear in each of its three factors, so its derivatives are the same two operators."""
    grad, weights, values, offsets = ctx.saved_tensors
    to_grad = accumulate(to_weights, values, offsets) + accumulate(weights, to_values, offsets)
    return to_grad, *accumulate_backward(grad, to_weights, to_values, offsets), None


def _distortion_pull(ctx: Any, grad: Tensor) -> tuple:
    """The pull is linear in the weights, by a symmetric matrix: it is its own derivative."""
    midpoints, intervals, offsets = ctx.saved_tensors
    return distortion_pull(grad, midpoints, intervals, offsets), None, None, None


weights_from_alpha.register_autograd(_weights_from_alpha, setup_context=_save_inputs)
weights_backward.register_autograd(_weights_backward, setup_context=_save_inputs)
sum_along_rays.register_autograd(_sum_along_rays, setup_context=_save_layout)
spread_along_rays.register_autograd(_spread_along_rays, setup_context=_save_layout)
accumulate.register_autograd(_accumulate, setup_context=_save_inputs)
accumulate_backward.register_autograd(_accumulate_backward, setup_context=_save_inputs)
distortion_pull.register_autograd(
    _distortion_pull, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[1:])
)
