"""What can be known of GPU kernels without a GPU: what Triton's interpreter computes, and that they compile."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

NEEDS_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is not installed: it comes with CUDA builds of torch, or by `pip install triton`",
)

AMPERE = ("cuda", 80, 32)


def assert_interpreted(tests: str) -> None:
    """The tests in the file of that name pass in a process where Triton interprets its kernels."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).with_name(tests))],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def compiled(kernel, types, constants) -> str:
    """The kernel as PTX for an Ampere GPU; none is needed for this."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=constants)
    options = {"num_warps": 1, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget(*AMPERE), options=options).asm["ptx"]
