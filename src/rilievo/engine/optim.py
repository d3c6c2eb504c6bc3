"""Optimisers: AdamW with a learning rate for each named part of a model, and one schedule over them all.

The settings are those of the published NeuS runs: β = (0.9, 0.99) and ε = 1e-15, because a hash entry met once in a
thousand steps has a tiny second moment (instant-ngp, arXiv:2201.05989, section 4), and decoupled weight decay 0.01,
which the published runs leave on for every part, the surface's sharpness included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

BETAS = (0.9, 0.99)
EPS = 1e-15
WEIGHT_DECAY = 0.01


def adamw(
    model: nn.Module,
    learning_rates: Mapping[str, float],
    *,
    weight_decay: float | Mapping[str, float] = WEIGHT_DECAY,
    betas: tuple[float, float] = BETAS,
    eps: float = EPS,
) -> AdamW:
    """AdamW over the named submodules, a parameter group each, in the mapping's order.

    A name is dotted as in `model.get_submodule`; "" is the whole model. Every trainable parameter must be in exactly
    one group, so that nothing is left untrained by a forgotten name: raises ValueError otherwise. `weight_decay` may
    be given by name.
    """
    groups: list[dict[str, Any]] = []
    for name, rate in learning_rates.items():
        decay = weight_decay if isinstance(weight_decay, float) else weight_decay.get(name, WEIGHT_DECAY)
        parameters = [p for p in model.get_submodule(name).parameters() if p.requires_grad]
        groups.append({"params": parameters, "name": name, "lr": rate, "weight_decay": decay})
    _check_partition(model, [p for group in groups for p in group["params"]])
    return AdamW(groups, betas=betas, eps=eps, fused=True)


def follow(optimizer: Optimizer, rate: Callable[[int], float]) -> LambdaLR:
    """Multiply every group's learning rate by rate(update number), stepping once per update.

    The schedule stays out of the checkpoint: it belongs to the config, and a state without it loads as plain weights.
    """
    return LambdaLR(optimizer, lambda step: rate(step))


def _check_partition(model: nn.Module, grouped: list[torch.nn.Parameter]) -> None:
    seen = [id(p) for p in grouped]
    missing = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in set(seen)]
    if missing:
        raise ValueError(
            f"learning rates: expected one for every part of the model, found none for {', '.join(missing)}"
        )
    if len(seen) != len(set(seen)):
        raise ValueError(
            "learning rates: expected each parameter in one group; two of the named parts share parameters"
        )
