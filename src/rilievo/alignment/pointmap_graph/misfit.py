"""The distance between where the views put their points and where the edges do: DUSt3R, eq. 5.

Pixel p (homogeneous p̃) of slot s, which is about view v and belongs to edge e, has the residual

    r = χ − (A_e X_sp + t_e)      with      χ = D_v(p) N_v p̃ + t_v,      N = R K⁻¹,

and the misfit is Σ w_sp |r| or Σ w_sp |r|². It is the one large computation of an iteration, so its gradient is written
out: with g = w r/|r| (or 2 w r; 0 where r is 0) and G_vp = Σ g over the slots of view v,

    ∂/∂D_v(p) = G_vp · N_v p̃,      ∂/∂N_v = Σ_p D_v(p) G_vp p̃ᵀ,      ∂/∂t_v = Σ_p G_vp,
    ∂/∂A_e = −Σ_{s of e} Σ_p g X_spᵀ,      ∂/∂t_e = −Σ_{s of e} Σ_p g,

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
    depth: Float[Tensor, "views pixels"],
    N: Float[Tensor, "views 3 3"],
    t: Float[Tensor, "views 3"],
    A: Float[Tensor, "edges 3 3"],
    t_edges: Float[Tensor, "edges 3"],
    pixels: Float[Tensor, "views 3 pixels"],
    X: Float[Tensor, "slots 3 pixels"],
    weights: Float[Tensor, "slots pixels"],
    slot_view: Int64[Tensor, "slots"],
    squared: bool = False,
) -> Float[Tensor, ""]:
    """Σ w |χ − (A X + t)|, or of its square; edge e has the slots 2e and 2e + 1.

    Differentiable once, with respect to the first five.
    """
    total: Tensor = _Misfit.apply(depth, N, t, A, t_edges, pixels, X, weights, slot_view, squared)
    return total


def view_points(depth: Tensor, N: Tensor, t: Tensor, pixels: Tensor) -> Float[Tensor, "views 3 pixels"]:
    """χ."""
    return torch.addcmul(t[:, :, None], N @ pixels, depth[:, None])


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
    """The misfit and its derivatives with respect to the first five arguments."""
    r = view_points(depth, N, t, pixels).index_select(0, slot_view) - t_edges.repeat_interleave(2, 0)[:, :, None]
    r = torch.baddbmm(r, A.repeat_interleave(2, 0), X, alpha=-1)
    square = r.square().sum(1)
    if squared:
        total, per_length = (weights * square).sum(), 2 * weights
    else:
        length = square.sqrt()
        total, per_length = (weights * length).sum(), weights / length.clamp_min(MIN_LENGTH)
    g = r * per_length[:, None]
    G = torch.zeros_like(pixels).index_add_(0, slot_view, g)
    to_A, to_t_edges = -(g @ X.mT).unflatten(0, (-1, 2)).sum(1), -g.sum(-1).unflatten(0, (-1, 2)).sum(1)
    return total, (G * (N @ pixels)).sum(1), (depth[:, None] * G) @ pixels.mT, G.sum(-1), to_A, to_t_edges


class _Misfit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        if args[0].device.type == "cpu":
            from rilievo.alignment.pointmap_graph.misfit_cpu import misfit_and_slopes as run
        else:
            run = misfit_and_slopes
        total, *slopes = run(*args)
        ctx.save_for_backward(*slopes)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *(grads[0] * slope for slope in ctx.saved_tensors), None, None, None, None, None
