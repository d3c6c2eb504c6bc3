"""The Triton kernels of rays, run by Triton's interpreter on the CPU. Started by `test_ray_triton.py`, with
TRITON_INTERPRET=1 in the environment: Triton reads it once, when first imported."""

import pytest
import torch

from rilievo.ops.ray_march import cpu as march_cpu
from rilievo.ops.ray_march import cuda as march_cuda
from rilievo.ops.ray_weights import cpu, cuda


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.fixture
def inputs(offsets, generator, dtype):
    samples, rays = int(offsets[-1]), len(offsets) - 1
    alpha = torch.rand(samples, generator=generator, dtype=dtype) ** 3
    alpha[::13], alpha[1::29] = 0, 1
    vectors = torch.randn(3, samples, generator=generator, dtype=dtype)
    midpoints = torch.rand(samples, generator=generator, dtype=dtype).cumsum(0)
    values = torch.randn(samples, 3, generator=generator, dtype=dtype)
    per_ray = torch.randn(rays, 3, generator=generator, dtype=dtype)
    return {
        "weights_from_alpha": (alpha, offsets),
        "weights_backward": (vectors[0], vectors[1], alpha, offsets),
        "weights_backward_twice": (*vectors, alpha, offsets),
        "sum_along_rays": (values, offsets),
        "spread_along_rays": (per_ray, offsets, samples),
        "accumulate": (alpha, values, offsets),
        "accumulate_backward": (per_ray, alpha, values, offsets),
        "distortion_pull": (alpha, midpoints, vectors[2].abs(), offsets),
    }


@pytest.mark.parametrize(
    "name",
    [
        "weights_from_alpha",
        "weights_backward",
        "weights_backward_twice",
        "sum_along_rays",
        "spread_along_rays",
        "accumulate",
        "accumulate_backward",
        "distortion_pull",
    ],
)
def test_gpu_kernels_of_ray_weights_agree_with_those_of_the_processor(name, inputs):
    ours, expected = getattr(cuda, name)(*inputs[name]), getattr(cpu, name)(*inputs[name])
    eps = torch.finfo(torch.float32).eps
    for a, b in zip(*((o if isinstance(o, tuple) else (o,)) for o in (ours, expected))):
        size = b.abs().max().item() if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=16 * eps * size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("unbounded", [False, True])
@pytest.mark.parametrize("cone_angle", [0.0, 0.2])
@pytest.mark.parametrize(("resolution", "share", "limit"), [(1, 1.0, 2), (13, 0.1, -1)])
def test_gpu_marching_finds_the_same_samples_to_the_last_bit(
    generator, dtype, unbounded, cone_angle, resolution, share, limit
):
    rays = 37  # more than one warp, and not a whole number of them
    origins = torch.randn(rays, 3, generator=generator, dtype=dtype)
    directions = torch.rand(rays, 3, generator=generator, dtype=dtype) * 2 - 1 - origins
    directions[::7] = torch.eye(3, dtype=dtype)[torch.arange(0, rays, 7) % 3]
    directions = torch.nn.functional.normalize(directions, dim=1)
    start = torch.rand(rays, generator=generator, dtype=dtype)
    t_max = start + 1.5
    start[3], t_max[3] = torch.inf, -torch.inf
    occupied = torch.rand((resolution,) * 3, generator=generator) < share
    args = (origins, directions, start, t_max, occupied, 1.1, unbounded, 0.1, cone_angle, 0.25, limit)
    for a, b in zip(march_cuda.march_rays(*args), march_cpu.march_rays(*args)):
        assert torch.equal(a, b)


def test_gpu_marching_of_no_rays():
    nothing = torch.zeros(0, 3)
    args = (nothing, nothing, nothing[:, 0], nothing[:, 0], torch.ones(4, 4, 4).bool(), 1.0, False, 0.1, 0.0, 1.0, -1)
    offsets, t_starts, t_ends = march_cuda.march_rays(*args)
    assert (offsets.tolist(), len(t_starts), len(t_ends)) == ([0], 0, 0)
