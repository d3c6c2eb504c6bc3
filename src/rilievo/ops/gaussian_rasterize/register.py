"""Colours, projection, binning and compositing as torch operators, with one derivative each.

Binning decides and has none. What a derivative needs again of the compositing is small: how much light was left at each
pixel, and which Gaussian was its last.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import get_ctx

from rilievo.ops.gaussian_rasterize import binning, colors, cpu, projection
from rilievo.ops.library import operator


def _like(tensor: Tensor, *shape: int | torch.SymInt, dtype: torch.dtype | None = None) -> Tensor:
    return tensor.new_empty(shape or tensor.shape, dtype=dtype)


def _colored(means: Tensor, eye: Tensor, sh_dc: Tensor, *_: object) -> Tensor:
    return _like(sh_dc)


def _colored_backward(*args: Any) -> tuple[Tensor, ...]:
    return _like(args[2]), _like(args[4]), _like(args[5])


def _projected(means: Tensor, *_: object) -> tuple[Tensor, ...]:
    n = means.shape[0]
    radii = _like(means, n, 2, dtype=torch.int32)
    return _like(means, n, 2), _like(means, n), _like(means, n, 3), radii, _like(means, n)


def _projected_backward(*args: Any) -> tuple[Tensor, ...]:
    return tuple(_like(t) for t in args[4:8])


def _pairs(means2d: Tensor, *args: Any) -> tuple[Tensor, ...]:
    pixel_offsets, pairs, n = args[4], get_ctx().new_dynamic_size(), means2d.shape[0]
    gaussian, slot = (_like(means2d, pairs, dtype=torch.int32) for _ in range(2))
    return gaussian, slot, _like(pixel_offsets), _like(pixel_offsets, n + 1), _like(means2d, n)


def _composited(means2d: Tensor, conics: Tensor, opacities: Tensor, values: Tensor, *args: Any) -> tuple[Tensor, ...]:
    pixels = args[5].shape[0]
    last, median = (_like(values, pixels, dtype=torch.int32) for _ in range(2))
    return _like(values, pixels, values.shape[1]), _like(values, pixels), _like(values, pixels), last, median


def _composited_backward(*args: Any) -> tuple[Tensor, ...]:
    return tuple(_like(t) for t in args[2:6])


view_colors = operator(colors.view_colors, fake=_colored)
view_colors_backward = operator(colors.view_colors_backward, fake=_colored_backward)
project_gaussians = operator(projection.project_gaussians, fake=_projected)
project_gaussians_backward = operator(projection.project_gaussians_backward, fake=_projected_backward)
bin_gaussians = operator(binning.bin_gaussians, fake=_pairs)
composite = operator(cpu.composite, fake=_composited)
composite_backward = operator(cpu.composite_backward, fake=_composited_backward)


def _save_colors(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.degree = inputs
    ctx.save_for_backward(output, *tensors)


def _view_colors(ctx: Any, grad: Tensor) -> tuple:
    to_means, to_dc, to_rest = view_colors_backward(grad, *ctx.saved_tensors, ctx.degree)
    return to_means, None, to_dc, to_rest, None


def _save_projection(ctx: Any, inputs: tuple, output: tuple) -> None:
    means, quats, scales, cam_from_world, K, _, *ctx.view = inputs
    ctx.save_for_backward(means, quats, scales, cam_from_world, K, output[3])
    ctx.mark_non_differentiable(output[3])


def _project_gaussians(
    ctx: Any, to_means2d: Tensor, to_depths: Tensor, to_conics: Tensor, _: Tensor, to_compensation: Tensor
) -> tuple:
    gradients = (to_means2d, to_depths, to_conics, to_compensation)
    return *project_gaussians_backward(*gradients, *ctx.saved_tensors, *ctx.view[:3]), *[None] * 7


def _save_compositing(ctx: Any, inputs: tuple, output: tuple) -> None:
    _, _, remaining, last, median = output
    ctx.save_for_backward(*inputs, remaining, last)
    ctx.mark_non_differentiable(last, median)


def _composite(ctx: Any, to_out: Tensor, to_alpha: Tensor, to_remaining: Tensor, *_: Tensor) -> tuple:
    return *composite_backward(to_out, to_remaining - to_alpha, *ctx.saved_tensors), *[None] * 8


view_colors.register_autograd(_view_colors, setup_context=_save_colors)
project_gaussians.register_autograd(_project_gaussians, setup_context=_save_projection)
composite.register_autograd(_composite, setup_context=_save_compositing)
