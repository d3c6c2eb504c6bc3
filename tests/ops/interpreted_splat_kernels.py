"""The GPU's way to rasterise Gaussians, run by Triton's interpreter on the CPU. Started by
`test_gaussian_rasterize_triton.py`, with TRITON_INTERPRET=1 in the environment: Triton reads it once, when imported."""

import pytest
import torch

from rilievo.ops.gaussian_rasterize import binning, cpu, cuda, projection, raster


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.fixture
def size():
    return 21, 18


def cloud(n, generator, dtype):
    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    means = rand(n, 3) * 2 - 1 + torch.tensor([0, 0, 2], dtype=dtype)
    means[::7, 2] -= 3
    pose, K = torch.eye(4, dtype=dtype), torch.tensor([[18, 0, 10], [0, 20, 8], [0, 0, 1]], dtype=dtype)
    pose[0, 3] = 0.1
    return (means, rand(n, 4) - 0.3, rand(n, 3) * 0.3 + 0.02, pose, K), rand(n) * 0.9 + 0.1, rand(n, 3)


def close(a, b, dtype):
    tolerance = 2e-4 if dtype == torch.float32 else 1e-10
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(
            x.double(), y.double(), rtol=0, atol=tolerance * max([1, *y.abs().flatten().tolist()])
        )


def test_projection_and_its_derivative_agree_with_the_processor(generator, dtype, size):
    inputs, _, _ = cloud(40, generator, dtype)
    settings = (None, *size, 0.3, 0.01, torch.inf)
    ours, expected = cuda.project_gaussians(*inputs, *settings), projection.project_gaussians(*inputs, *settings)
    close(ours, expected, dtype)
    means2d, depths, conics, radii, compensation = expected
    grads = [torch.randn(t.shape, generator=generator, dtype=dtype) for t in (means2d, depths, conics, compensation)]
    close(
        cuda.project_gaussians_backward(*grads, *inputs, radii, *size, 0.3),
        projection.project_gaussians_backward(*grads, *inputs, radii, *size, 0.3),
        dtype,
    )


@pytest.mark.parametrize("n", [0, 25])
@pytest.mark.parametrize("chosen", [False, True])
def test_compositing_and_its_derivative_agree_with_the_processor(generator, dtype, size, n, chosen):
    inputs, opacities, values = cloud(n, generator, dtype)
    seen = projection.project_gaussians(*inputs, None, *size, 0.3, 0.01, torch.inf)
    means2d, depths, conics, radii, _ = seen
    pixels = raster._tiled_picture(size, means2d.device)
    if chosen:  # more pixels in one tile than there are lanes
        pixels = raster._tiled(torch.tensor([[3, 4]] * 300 + [[17, 16]]), size)
    results = []
    for binner, kernels in ((cuda, cuda), (binning, cpu)):
        *pairs, half = binner.bin_gaussians(means2d, conics, depths, radii, opacities, pixels[1], *size)
        arguments = (means2d, conics, opacities, values, half, *pairs, *pixels)
        out, alpha, remaining, last, median = kernels.composite(*arguments)
        draws = torch.Generator().manual_seed(5)
        grads = [torch.randn(t.shape, generator=draws, dtype=dtype) for t in (out, remaining)]
        learnt = kernels.composite_backward(*grads, *arguments, remaining, last)
        results.append((out, alpha, remaining, median, *learnt))
    close(*results, dtype)
