"""How Numba kernels run on the processor: threads, locks, compiled code on disk, and torch tensors as arrays.

Numba chooses a threading layer once per process. Left alone it may choose OpenMP, under which a forked child dies, or
its own work queue, which aborts the process when two Python threads enter it together. So the choice is made here, at
the first launch and never on import: TBB where it can be loaded, else the work queue behind one lock. Whoever sets
NUMBA_THREADING_LAYER, or has launched Numba threads before us, keeps that choice.

A kernel uses as many threads as torch does (`torch.set_num_threads`), and its result must not depend on that number:
let a thread own whole outputs (a ray, a point, a cell) and never add into another's.
"""

import ctypes
import functools
import importlib.metadata
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

TBB_LIBRARY = {"linux": "libtbb.so.12", "win32": "tbb12.dll", "darwin": "libtbb.12.dylib"}
OLDEST_TBB_INTERFACE = 12060  # what Numba itself asks for

_numba_config: Any = numba.config  # a module that fills itself from the environment
_one_at_a_time = threading.Lock()


def kernel(*, parallel: bool = True, fastmath: bool | set[str] = False) -> Callable[[Callable], Callable]:
    """Compile a function of numpy arrays and numbers; the result runs on torch's number of threads without the GIL.

    Machine code is kept on disk beside the source, or in the user's cache folder where the source is read-only, or not
    at all where nothing can be written. The stored code is renewed when the kernel's own file changes, so the functions
    it calls belong in that file, marked `@inlined`.
    """

    def compile(function: Callable) -> Callable:
        compiled = _compile(function, parallel=parallel, fastmath=fastmath)

        @functools.wraps(inspect.unwrap(function))
        def launch(*args: Any) -> Any:
            with _processor():
                return compiled(*args)

        return launch

    return compile


def inlined(function: Callable) -> Callable:
    """Compile a function that kernels of the same file call, once per element; it starts no threads of its own."""
    return _compile(function, parallel=False, fastmath=False)


def array(tensor: Tensor) -> np.ndarray:
    """The memory of a CPU tensor as an array; copied only where the tensor is not contiguous.

    Kernels are compiled for contiguous arrays alone. Never write into the array of an input: it may be the caller's.
    """
    return tensor.detach().contiguous().numpy()


@functools.cache
def threading_layer() -> str:
    """Settle and name the layer that Numba kernels run on in this process."""
    try:
        return numba.threading_layer()
    except ValueError:  # no parallel kernel has run yet
        pass
    if _numba_config.THREADING_LAYER == "default":
        _numba_config.THREADING_LAYER = "tbb" if _tbb_loads() else "workqueue"
    return _numba_config.THREADING_LAYER


@contextmanager
def _processor() -> Iterator[None]:
    with _one_at_a_time if threading_layer() in ("workqueue", "default") else nullcontext():
        before = numba.get_num_threads()
        numba.set_num_threads(min(torch.get_num_threads(), _numba_config.NUMBA_NUM_THREADS))
        try:
            yield
        finally:
            numba.set_num_threads(before)


def _compile(function: Callable, **options: Any) -> Callable:
    source = inspect.unwrap(function)  # beneath the shape checks that tests wrap around every function
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(source)
    except RuntimeError:  # no folder for the machine code can be written
        return numba.njit(nogil=True, error_model="numpy", **options)(source)


def _tbb_loads() -> bool:
    """Load TBB, also from the Python environment's own lib folder, where the system's loader does not look."""
    name = TBB_LIBRARY.get(sys.platform, "libtbb.so.12")
    for library in [*_installed_tbb(name), name]:
        try:
            tbb = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        if tbb.TBB_runtime_interface_version() < OLDEST_TBB_INTERFACE:
            return False
        break
    try:
        import numba.np.ufunc.tbbpool  # noqa: F401
    except ImportError:
        return False
    return True


def _installed_tbb(name: str) -> list[Path]:
    try:
        files = importlib.metadata.files("tbb") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())).resolve() for file in files if file.name == name]
