"""How Triton kernels are made. Only the `cuda` file of a kernel imports this: machines without Triton never ask."""

import inspect
from collections.abc import Callable
from typing import Any

import triton


def jit(function: Callable) -> Any:
    """`triton.jit` for the function itself, beneath the shape checks that tests wrap around every function."""
    return triton.jit(inspect.unwrap(function))
