"""Activations by name, as the published NeuS configurations spell them.

Plain names: none, relu, softplus, sigmoid, tanh, trunc_exp, lin2srgb, exp, elu, gelu, silu. With a number: `scale2`
clamps to [0, 2] and divides by 2, `clamp1.5` clamps to [0, 1.5], `mul0.3` multiplies, `+0.25` and `-1.5` add. Case
does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rilievo.errors import clear
from rilievo.shading.color import linear_to_srgb

Activation = Callable[[Tensor], Tensor]

TRUNC_EXP_MAX = 15.0
"""Above this exponent the gradient of `trunc_exp` stops growing: e¹⁵ ≈ 3e6 is already opaque and still safe in half
precision sums.
"""


class _TruncExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad_outputs[0] * x.clamp(max=TRUNC_EXP_MAX).exp()


def trunc_exp(x: Tensor) -> Tensor:
    """exp(x) whose gradient is g·exp(min(x, 15)), so that one huge density does not end a training run
    (instant-ngp).
    """
    return _TruncExp.apply(x)  # type: ignore[no-untyped-call]  # torch's `apply` has no types


def identity(x: Tensor) -> Tensor:
    return x


PLAIN: dict[str, Activation] = {
    "none": identity,
    "relu": F.relu,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "trunc_exp": trunc_exp,
    "lin2srgb": linear_to_srgb,
}

WITH_NUMBER: dict[str, Callable[[float], Activation]] = {
    "scale": lambda top: lambda x: x.clamp(0.0, top) / top,
    "clamp": lambda top: lambda x: x.clamp(0.0, top),
    "mul": lambda factor: lambda x: x * factor,
    "+": lambda term: lambda x: x + term,
    "-": lambda term: lambda x: x - term,
}


def activation(name: str | None) -> Activation:
    """The elementwise function of that name; None means none. Raises UserError for a name it does not know."""
    if name is None:
        return identity
    spelled = name.lower()
    if spelled in PLAIN:
        return PLAIN[spelled]
    for prefix, make in WITH_NUMBER.items():
        number = _number(spelled.removeprefix(prefix)) if spelled.startswith(prefix) else None
        if number is not None:
            return make(number)
    known = ", ".join([*PLAIN, *(f"{prefix}NUMBER" for prefix in WITH_NUMBER)])
    raise clear("activation", expected=f"one of {known}", got=repr(name), do="correct the name in the configuration")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
