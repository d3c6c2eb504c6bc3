"""Hash encoding as torch operators: devices, shapes and derivatives.

`hash_encode` is linear in the table and its derivatives stay within a small family (see `cpu.py`): backward of encode
uses scatter and pullback; backward of scatter uses encode and pullback with the cotangent in the place of the table;
backward of pullback is its own operator, where the chain ends: twice differentiable, as a loss on normals needs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rilievo.ops.threading import array

from .spec import HashGridSpec, levels

Settings = tuple[int, int, int, int, float, int]
"""n_levels, features_per_level, log2_table_size, base_resolution, per_level_scale, active_levels."""


def settings(spec: HashGridSpec, active_levels: int) -> Settings:
    return (
        spec.n_levels,
        spec.features_per_level,
        spec.log2_table_size,
        spec.base_resolution,
        spec.per_level_scale,
        active_levels,
    )


def _tables(dtype: np.dtype, s: Settings):
    grid = levels(HashGridSpec(*s[:5]))
    return grid.scales.astype(dtype), grid.resolutions, grid.entries, grid.hashed, grid.offsets


def _order(n_levels: int) -> np.ndarray:
    """Levels interleaved, so that equal slices hold as many small, cached levels as large ones."""
    return np.concatenate([np.arange(n_levels)[k::4] for k in range(4)])


def _chunk(points: int) -> int:
    """Points per task: an equal share for each thread, as long as a chunk's output still fits the shared cache."""
    return max(1, min(1 << 17, -(-points // torch.get_num_threads())))


@torch.library.custom_op("rilievo::hash_encode", mutates_args=(), device_types="cpu")
def encode(
    x: Tensor, table: Tensor, n_levels: int, features: int, log2_size: int, base: int, scale: float, active: int
) -> Tensor:
    from . import cpu

    out = x.new_empty(x.shape[0], n_levels * features)
    s = (n_levels, features, log2_size, base, scale, active)
    points, rows = array(x.t()), array(table)
    cpu.encode(points, rows, *_tables(points.dtype, s), active, _chunk(len(x)), (0,) * features, out.numpy())
    return out


@torch.library.custom_op("rilievo::hash_encode_scatter", mutates_args=(), device_types="cpu")
def scatter(
    g: Tensor, x: Tensor, n_levels: int, features: int, log2_size: int, base: int, scale: float, active: int
) -> Tensor:
    from . import cpu

    s = (n_levels, features, log2_size, base, scale, active)
    out = x.new_empty(HashGridSpec(*s[:5]).total_entries, features)
    cotangent, points = array(g), array(x.t())
    cpu.scatter(cotangent, points, *_tables(points.dtype, s), active, _order(n_levels), (0,) * features, out.numpy())
    return out


@torch.library.custom_op("rilievo::hash_encode_pullback", mutates_args=(), device_types="cpu")
def pullback(
    g: Tensor,
    x: Tensor,
    table: Tensor,
    n_levels: int,
    features: int,
    log2_size: int,
    base: int,
    scale: float,
    active: int,
) -> Tensor:
    from . import cpu

    out = x.new_empty(x.shape)
    s = (n_levels, features, log2_size, base, scale, active)
    cotangent, points, rows = array(g), array(x.t()), array(table)
    cpu.pullback(
        cotangent, points, rows, *_tables(points.dtype, s), active, _chunk(len(x)), (0,) * features, out.numpy()
    )
    return out


@torch.library.custom_op("rilievo::hash_encode_pullback_backward", mutates_args=(), device_types="cpu")
def pullback_backward(
    v: Tensor,
    g: Tensor,
    x: Tensor,
    table: Tensor,
    needs: list[bool],
    n_levels: int,
    features: int,
    log2_size: int,
    base: int,
    scale: float,
    active: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of ⟨pullback(g, x, table), v⟩ by g, x and table; what `needs` leaves out comes back empty."""
    from . import cpu

    s = (n_levels, features, log2_size, base, scale, active)
    direction, cotangent, points, rows = array(v), array(g), array(x.t()), array(table)
    grid = _tables(points.dtype, s)
    shape = _chunk(len(x)), (0,) * features
    to_g, to_x, to_table = x.new_empty(0), x.new_empty(0), x.new_empty(0)
    if needs[0]:
        to_g = x.new_empty(g.shape)
        cpu.pullback_to_cotangent(direction, points, rows, *grid, active, *shape, to_g.numpy())
    if needs[1]:
        to_x = x.new_empty(x.shape)
        cpu.pullback_to_position(direction, cotangent, points, rows, *grid, active, *shape, to_x.numpy())
    if needs[2]:
        to_table = x.new_empty(table.shape)
        order = _order(n_levels)
        cpu.pullback_to_table(direction, cotangent, points, *grid, active, order, shape[1], to_table.numpy())
    return to_g, to_x, to_table


def _on_cuda(name: str) -> Callable[..., Any]:
    """The function of this name in `cuda`, imported when first needed: machines without Triton never ask."""

    def run(*args: Any) -> Any:
        from . import cuda

        return getattr(cuda, name)(*args)

    return run


encode.register_kernel("cuda", _on_cuda("encode"))
scatter.register_kernel("cuda", _on_cuda("scatter"))
pullback.register_kernel("cuda", _on_cuda("pullback"))
pullback_backward.register_kernel("cuda", _on_cuda("pullback_backward"))


@encode.register_fake
def _(x, table, n_levels, features, log2_size, base, scale, active):
    return x.new_empty(x.shape[0], n_levels * features)


@scatter.register_fake
def _(g, x, n_levels, features, log2_size, base, scale, active):
    spec = HashGridSpec(n_levels, features, log2_size, base, scale)
    return x.new_empty(spec.total_entries, features)


@pullback.register_fake
def _(g, x, table, n_levels, features, log2_size, base, scale, active):
    return x.new_empty(x.shape)


@pullback_backward.register_fake
def _(v, g, x, table, needs, n_levels, features, log2_size, base, scale, active):
    shapes = (g.shape, x.shape, table.shape)
    return tuple(x.new_empty(shape if need else (0,)) for shape, need in zip(shapes, needs))


def _save(ctx, inputs, output) -> None:
    tensors = [i for i in inputs if isinstance(i, Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.settings = inputs[len(tensors) :]


def _encode_backward(ctx, g: Tensor):
    x, table = ctx.saved_tensors
    to_x = pullback(g, x, table, *ctx.settings) if ctx.needs_input_grad[0] else None
    to_table = scatter(g, x, *ctx.settings) if ctx.needs_input_grad[1] else None
    return to_x, to_table, *[None] * len(ctx.settings)


def _scatter_backward(ctx, v: Tensor):
    g, x = ctx.saved_tensors
    to_g = encode(x, v, *ctx.settings) if ctx.needs_input_grad[0] else None
    to_x = pullback(g, x, v, *ctx.settings) if ctx.needs_input_grad[1] else None
    return to_g, to_x, *[None] * len(ctx.settings)


def _pullback_backward(ctx, v: Tensor):
    needs = list(ctx.needs_input_grad[:3])
    grads = pullback_backward(v, *ctx.saved_tensors, needs, *ctx.settings)
    return *(grad if need else None for grad, need in zip(grads, needs)), *[None] * len(ctx.settings)


encode.register_autograd(_encode_backward, setup_context=_save)
scatter.register_autograd(_scatter_backward, setup_context=_save)
pullback.register_autograd(_pullback_backward, setup_context=_save)
