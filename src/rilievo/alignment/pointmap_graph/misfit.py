"""The distance between where the views put their points and where the edges do: DUSt3R, eq. 5.

Pixel p of slot s, which is about view v and belongs to edge e, has the residual r = χ_p^v − (A_e X_sp + t_e); the
misfit is Σ w_sp |r| or Σ w_sp |r|². It is the one large computation of an iteration, so its gradient is written out:
with g = w r/|r| (or 2 w r; 0 where r is 0),

    ∂/∂χ^v = Σ_{s of v} g,     ∂/∂A_e = −Σ_{s of e} Σ_p g X_spᵀ,     ∂/∂t_e = −Σ_{s of e} Σ_p g,

which comes out of the same pass over the points. On a processor the pass is a Numba kernel (`misfit_cpu`); elsewhere,
and as the definition, it is the torch code below.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

MIN_LENGTH = 1e-20
"""Keeps w r/|r| at 0, not NaN, where r = 0."""


def misfit(
    world: Float[Tensor, "views 3 pixels"],
    A: Float[Tensor, "edges 3 3"],
    t: Float[Tensor, "edges 3"],
    X: Float[Tensor, "slots 3 pixels"],
    weights: Float[Tensor, "slots pixels"],
    slot_view: Int64[Tensor, "slots"],
    squared: bool = False,
) -> Float[Tensor, ""]:
    """Σ w |χ − (A X + t)|, or of its square; edge e has the slots 2e and 2e + 1.

    Differentiable once, with respect to `world`, `A` and `t`.
    """
    total: Tensor = _Misfit.apply(world, A, t, X, weights, slot_view, squared)
    return total


def misfit_and_slopes(
    world: Tensor, A: Tensor, t: Tensor, X: Tensor, weights: Tensor, slot_view: Tensor, squared: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The misfit and its derivatives with respect to `world`, `A` and `t`."""
    r = world.index_select(0, slot_view) - t.repeat_interleave(2, 0)[:, :, None]
    r = torch.baddbmm(r, A.repeat_interleave(2, 0), X, alpha=-1)
    square = r.square().sum(1)
    if squared:
        total, per_length = (weights * square).sum(), 2 * weights
    else:
        length = square.sqrt()
        total, per_length = (weights * length).sum(), weights / length.clamp_min(MIN_LENGTH)
    g = r * per_length[:, None]
    to_A, to_t = -(g @ X.mT).unflatten(0, (-1, 2)).sum(1), -g.sum(-1).unflatten(0, (-1, 2)).sum(1)
    return total, torch.zeros_like(world).index_add_(0, slot_view, g), to_A, to_t


class _Misfit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, world: Tensor, A: Tensor, t: Tensor, X: Tensor, weights: Tensor, slot_view: Tensor, squared: bool
    ) -> Tensor:
        if world.device.type == "cpu":
            from rilievo.alignment.pointmap_graph.misfit_cpu import misfit_and_slopes as run
        else:
            run = misfit_and_slopes
        total, *slopes = run(world, A, t, X, weights, slot_view, squared)
        ctx.save_for_backward(*slopes)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grads
        to_world, to_A, to_t = ctx.saved_tensors
        return scale * to_world, scale * to_A, scale * to_t, None, None, None, None
