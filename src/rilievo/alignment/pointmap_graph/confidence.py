"""What a confidence C is worth: its weight w(C) in the loss, and in everything that is computed before it.

DUSt3R's confidences are 1 + exp(·) > 1, and log C is their weight in the loss: C = 1 knows nothing. A weight is never
negative and never NaN here: C at or below the value that weighs 0 (a masked pixel set to 1 or 0, say) has no vote. The
published code leaves log 0 = -inf in the sum, which turns every pose into NaN, and lets C = 1 vote in the initial
registration, the tree and the focal length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Worth = Literal["log", "sqrt", "minus_one", "plain"]

WORTHS: dict[Worth, Callable[[Tensor], Tensor]] = {
    "log": torch.log,
    "sqrt": torch.sqrt,
    "minus_one": lambda C: C - 1,
    "plain": lambda C: C,
}


def loss_weight(C: Float[Tensor, "*b"], worth: Worth = "log") -> Float[Tensor, "*b"]:
    """w(C) >= 0; 0 where C is not finite or is worth nothing."""
    w = WORTHS[worth](torch.where(C.isfinite(), C, 0).clamp_min(0))
    return w.clamp_min(0)


def vote(C: Float[Tensor, "*b"], worth: Worth = "log") -> Float[Tensor, "*b"]:
    """C itself where it weighs anything in the loss, else 0: the weight in registration, tree, focal and PnP."""
    return torch.where(loss_weight(C, worth) > 0, C, 0)
