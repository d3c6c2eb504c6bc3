"""The GPU kernels of Gaussians: their arithmetic in Triton's interpreter, and that they compile without a GPU."""

import pytest

from .without_gpu import NEEDS_TRITON, assert_interpreted, compiled

pytestmark = NEEDS_TRITON


def test_gpu_kernels_agree_with_the_processor_in_the_interpreter():
    assert_interpreted("interpreted_splat_kernels.py")


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
