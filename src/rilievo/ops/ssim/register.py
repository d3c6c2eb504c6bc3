"""Structural similarity as a torch operator, with one derivative, by the picture."""

from typing import Any

import torch
from torch import Tensor

from rilievo.ops.library import operator
from rilievo.ops.ssim import cpu


def _found(image: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(image, memory_format=torch.contiguous_format) for _ in range(4))


def _found_backward(*args: Any) -> Tensor:
    return torch.empty_like(args[4], memory_format=torch.contiguous_format)


similarity = operator(cpu.similarity, fake=_found)
similarity_backward = operator(cpu.similarity_backward, fake=_found_backward)


def _save(ctx: Any, inputs: tuple, output: tuple) -> None:
    image, target, window, *_ = inputs
    ctx.save_for_backward(*output[1:], image, target, window)
    ctx.mark_non_differentiable(*output[1:])


def _similarity(ctx: Any, grad: Tensor, *_: Any) -> tuple:
    return similarity_backward(grad, *ctx.saved_tensors), None, None, None, None


similarity.register_autograd(_similarity, setup_context=_save)
