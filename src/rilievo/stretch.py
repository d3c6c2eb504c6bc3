"""The same course of training in another number of steps: what happens at a step moves along."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, TypeVar, get_type_hints

C = TypeVar("C")


class _Stretches:
    """Marks fields of configs that count steps from the start of training."""


Step = Annotated[int, _Stretches]
"""A moment of training, or how long a part of it lasts."""
Steps = Annotated[tuple[int, ...], _Stretches]
"""Several moments."""


def stretched(config: C, factor: float) -> C:
    """The config with every `Step` in it, at any depth, multiplied by `factor` and rounded; none but 0 becomes 0."""
    hints = get_type_hints(type(config), include_extras=True)
    changes = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]  # a dataclass, which C cannot say
        value = getattr(config, field.name)
        if _Stretches in getattr(hints[field.name], "__metadata__", ()):
            changes[field.name] = _moved(value, factor)
        elif dataclasses.is_dataclass(value):
            changes[field.name] = stretched(value, factor)
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def _moved(value: Any, factor: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_moved(v, factor) for v in value)
    return max(1, round(value * factor)) if value else 0
