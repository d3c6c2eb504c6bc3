"""Encoded directions as a torch operator, with one derivative by directions and roughness."""

from typing import Any

from torch import Tensor

from rilievo.ops.directional_encode import cpu
from rilievo.ops.library import operator


def _features(directions: Tensor, roughness: Tensor, a: Tensor, b: Tensor, start: Tensor, degree: int) -> Tensor:
    return directions.new_empty(len(directions), cpu.feature_count(degree))


def _gradients(grad: Tensor, directions: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return directions.new_empty(directions.shape), directions.new_empty(len(directions), 1)


directional_encode = operator(cpu.directional_encode, fake=_features)
directional_encode_backward = operator(cpu.directional_encode_backward, fake=_gradients)


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.degree = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple:
    to_directions, to_roughness = directional_encode_backward(grad, *ctx.saved_tensors, ctx.degree)
    return to_directions, to_roughness, None, None, None, None


directional_encode.register_autograd(_backward, setup_context=_save)
