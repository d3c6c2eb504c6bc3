"""Asking the memory for what is needed soon.

A kernel that gathers rows of a large table waits for each of them, because the processor looks only some hundred
instructions ahead. A kernel that knows a block of rows beforehand asks for all of them at once and finds them in its
own cache when their turn comes. A request changes nothing but time, and may name any address.

`request_to_read(array, row)` and `request_to_write(array, row)` are called within Numba kernels; `array` has two axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_BYTE_POINTER, _INT32 = ir.IntType(8).as_pointer(), ir.IntType(32)
_KEEP, _DATA = 3, 1  # of LLVM's prefetch: in all levels of the cache; not instructions


def _request(to_write: int) -> Callable[..., Any]:
    def request(typing: Any, array: Any, row: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            memory = context.make_array(signature.args[0])(context, builder, args[0])
            stride = builder.extract_value(memory.strides, 0)
            address = builder.gep(builder.bitcast(memory.data, _BYTE_POINTER), [builder.mul(args[1], stride)])
            takes = ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, _INT32, _INT32, _INT32])
            ask = builder.module.declare_intrinsic("llvm.prefetch", [_BYTE_POINTER], takes)
            builder.call(ask, [address, *(ir.Constant(_INT32, k) for k in (to_write, _KEEP, _DATA))])
            return context.get_dummy_value()

        return types.void(array, types.int64), generate

    return intrinsic(request)


request_to_read = _request(0)
request_to_write = _request(1)
