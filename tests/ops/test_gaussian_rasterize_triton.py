"""The GPU kernels of Gaussians: their arithmetic in Triton's interpreter, and that they compile without a GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .test_ray_triton import compiled

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is not installed: it comes with CUDA builds of torch, or by `pip install triton`",
)


def test_gpu_kernels_agree_with_the_processor_in_the_interpreter():
    tests = Path(__file__).with_name("interpreted_splat_kernels.py")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("name", ["_composite", "_composite_backward"])
@pytest.mark.parametrize("number", ["fp32", "fp64"])
def test_compositing_compiles_for_a_gpu(name, number):
    from rilievo.ops.gaussian_rasterize import cuda

    floats = ("table", "out", "alpha_out", "remaining", "grad_out", "grad_remaining", "slots")
    types = dict.fromkeys(floats, f"*{number}")
    types |= dict.fromkeys(("gaussian", "slot", "pixels_px", "last_out", "median_out", "last_in"), "*i32")
    types |= dict.fromkeys(("tile_offsets", "pixel_offsets", "place"), "*i64")
    kernel = getattr(cuda, name)
    types = {argument: kind for argument, kind in types.items() if argument in kernel.arg_names}
    assert compiled(kernel, types, {"channels": 4, "padded": 4, "lanes": cuda.LANES})
