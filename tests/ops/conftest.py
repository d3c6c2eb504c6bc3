"""Packed rays of every awkward kind, and a tolerance that comes from arithmetic."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

EPS = torch.finfo(torch.float32).eps

COUNTS = {
    "no rays": [],
    "no samples": [0, 0, 0],
    "one sample": [1],
    "empty rays between": [5, 0, 1, 0, 0, 33, 64, 0],
    "empty rays at the ends": [0, 7, 0],
    "many": [0, 131, 1, 2, 3, 128, 65, 0, 257, 17],
}


def offsets_of(counts: list[int]) -> Tensor:
    return torch.tensor([0, *counts], dtype=torch.int64).cumsum(0)


@pytest.fixture(params=COUNTS)
def offsets(request: pytest.FixtureRequest) -> Tensor:
    return offsets_of(COUNTS[request.param])


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture(scope="session")
def assert_as_accurate_as() -> Callable[..., None]:
    """`assert_as_accurate_as(kernel, reference, *args, slack=4)`, see below."""
    return _assert_as_accurate_as


def _assert_as_accurate_as(kernel: Callable, reference: Callable, *args: Any, slack: float = 4) -> None:
    """The kernel loses at most `slack` times what the reference itself loses to float32, in values and in gradients.

    Loss is measured against the reference in float64, over all outputs and over the gradients of their sum, weighted at
    random, with respect to every float tensor that requires one. Where float32 happens to lose nothing, `slack` units
    of rounding of the whole are allowed.
    """
    exact = _values_and_gradients(reference, args, torch.float64)
    for name, ours, theirs, truth in zip(
        ("value", "gradient"),
        _values_and_gradients(kernel, args, torch.float32),
        _values_and_gradients(reference, args, torch.float32),
        exact,
    ):
        lost, allowed = _distance(ours, truth), slack * max(_distance(theirs, truth), EPS * _size(truth))
        assert lost <= allowed, f"{name}: the kernel loses {lost:.3g}, allowed are {allowed:.3g}"


def _values_and_gradients(function: Callable, args: tuple, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    inputs = [_converted(a, dtype) for a in args]
    outputs = function(*inputs)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    wanted = [i for i in inputs if isinstance(i, Tensor) and i.requires_grad]
    if not wanted:
        return [o.detach() for o in outputs], []
    generator = torch.Generator().manual_seed(len(outputs))
    cotangents = [torch.randn(o.shape, generator=generator, dtype=torch.float32).to(o) for o in outputs]
    total = sum((o * c).sum() for o, c in zip(outputs, cotangents))
    return [o.detach() for o in outputs], list(torch.autograd.grad(total, wanted))


def _converted(argument: Any, dtype: torch.dtype) -> Any:
    if not isinstance(argument, Tensor) or not argument.is_floating_point():
        return argument
    return argument.detach().to(dtype).requires_grad_(argument.requires_grad)


def _distance(some: list[Tensor], others: list[Tensor]) -> float:
    return max((torch.linalg.vector_norm(a.double() - b.double()).item() for a, b in zip(some, others)), default=0.0)


def _size(tensors: list[Tensor]) -> float:
    return max((torch.linalg.vector_norm(t).item() for t in tensors), default=0.0)
