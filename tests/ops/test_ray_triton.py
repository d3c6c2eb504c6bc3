"""The GPU kernels of rays: their arithmetic in Triton's interpreter, and that they compile without a GPU at hand."""

import pytest
import torch

from .without_gpu import NEEDS_TRITON, assert_interpreted, compiled

pytestmark = NEEDS_TRITON


def test_gpu_kernels_agree_with_the_processor_in_the_interpreter():
    assert_interpreted("interpreted_ray_kernels.py")


@pytest.mark.parametrize("number", ["fp32", "fp64"])
@pytest.mark.parametrize("from_far_end", [False, True])
def test_the_recurrence_compiles_for_a_gpu(number, from_far_end):
    from rilievo.ops.ray_weights import cuda

    types = dict.fromkeys(("factors", "terms", "solution"), f"*{number}") | {"offsets": "*i64", "first": "fp32"}
    assert compiled(cuda._solve, types, {"from_far_end": from_far_end, "chunk": cuda.CHUNK})


def test_accumulation_compiles_for_a_gpu():
    from rilievo.ops.ray_weights import cuda

    types = dict.fromkeys(("weights", "values", "sums"), "*fp32") | {"offsets": "*i64", "channels": "i32"}
    assert compiled(cuda._accumulate, types, {"chunk": cuda.CHUNK})


@pytest.mark.parametrize("unbounded", [False, True])
@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize("counting", [False, True])
def test_the_walk_compiles_for_a_gpu_and_never_fuses_product_and_sum(unbounded, growing, counting):
    from rilievo.ops.ray_march import cuda

    floats = ("origins", "directions", "start", "t_max", "constants", "t_starts", "t_ends")
    types = dict.fromkeys(floats, "*fp32")
    types |= {"occupied": "*i1", "blocks": "*i1", "offsets": "*i64"}
    types |= {"rays": "i32", "resolution": "i32", "limit": "i64"}
    choices = {"unbounded": unbounded, "growing": growing, "counting": counting, "lanes": cuda.LANES}
    assert "fma.rn.f32" not in compiled(cuda._walk_rays, types, choices)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_rays_are_marched_and_weighed_as_on_the_processor(generator):
    from rilievo.ops.ray_march import march_rays
    from rilievo.ops.ray_weights import accumulate, distortion_loss, weights_from_alpha

    origins = torch.randn(500, 3, generator=generator)
    directions = torch.nn.functional.normalize(-origins + torch.rand(500, 3, generator=generator), dim=1)
    occupied = torch.rand(32, 32, 32, generator=generator) < 0.2

    def render(device: str) -> list[torch.Tensor]:
        samples = march_rays(
            *(t.to(device) for t in (origins, directions, torch.zeros(500), torch.full((500,), 5.0), occupied)),
            radius=1.0,
            contraction="box",
            step=0.01,
        )
        alpha = (samples.midpoints * 7 % 1).square().requires_grad_()
        weights, _ = weights_from_alpha(alpha, samples.offsets)
        colour = accumulate(weights, samples.midpoints[:, None], samples.offsets)
        distortion = distortion_loss(weights, samples.midpoints, samples.intervals, samples.offsets)
        (gradient,) = torch.autograd.grad(colour.square().sum() + distortion.sum(), alpha)
        return [t.detach().cpu() for t in (samples.offsets, samples.t_starts, weights, colour, distortion, gradient)]

    for ours, expected in zip(render("cuda"), render("cpu")):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
