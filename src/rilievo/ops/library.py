"""How a kernel becomes a torch operator: one definition, a processor and a GPU to run it, shapes for the compiler."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch


def operator(on_cpu: Callable, *, fake: Callable) -> Any:
    """Register `rilievo::<name>` from the function of that name in a kernel's `cpu` file.

    The signature must be annotated with what torch schemas know (`Tensor`, `int`, `float`, `bool`, optional, tuple).
    On CUDA tensors the function of the same name in the sibling file `cuda` runs, imported when first needed. `fake`
    makes outputs of the right shape out of tensors without data; it also serves `torch.compile`.
    """
    name = on_cpu.__name__
    package = inspect.unwrap(on_cpu).__module__.rpartition(".")[0]
    definition = torch.library.custom_op(f"rilievo::{name}", on_cpu, mutates_args=(), device_types="cpu")

    def on_cuda(*args: Any) -> Any:
        return getattr(importlib.import_module(f"{package}.cuda"), name)(*args)

    definition.register_kernel("cuda", on_cuda)
    definition.register_fake(fake)
    return definition
