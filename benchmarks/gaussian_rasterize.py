"""Gaussians on a screen, forward and backward: kernels against plain torch, side by side, with equal results required.

The plain form (`ops.gaussian_rasterize.reference`) holds every Gaussian against every pixel. It runs at the largest
size that its memory allows; the kernels run there too, and at their own sizes. Contenders take turns within one run,
and medians are reported.

    python benchmarks/gaussian_rasterize.py [--gaussians 20000] [--size 256 256] [--threads 2] [--repeats 7]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rilievo.ops.gaussian_rasterize import project_gaussians, rasterize_gaussians, reference
from rilievo.ops.threading import threading_layer

COMMON = 2000, (128, 128)
"""A size that both can run: the plain form keeps a dozen numbers per Gaussian and pixel, 2 GiB here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gaussians", type=int, default=20000)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256))
    parser.add_argument("--common", type=int, nargs=3, default=(COMMON[0], *COMMON[1]), help="Gaussians, width, height")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads ({threading_layer()}), forward and backward to all inputs and the camera")

    count, *size = options.common
    cloud, view = scene(count, tuple(size))
    plain, kernel = [], []
    for _ in range(options.repeats):
        seconds, expected = timed(by_definition, cloud, view)
        plain.append(seconds)
        seconds, drawn = timed(by_kernels, cloud, view)
        kernel.append(seconds)
    for ours, theirs in zip(drawn, expected):
        assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()
    theirs, ours = statistics.median(plain), statistics.median(kernel[1:])
    print(f"{describe(count, size, ours)}   plain torch {1e3 * theirs:8.1f} ms   {theirs / ours:6.1f} ×")

    cloud, view = scene(options.gaussians, tuple(options.size))
    ours = statistics.median(timed(by_kernels, cloud, view)[0] for _ in range(options.repeats))
    print(describe(options.gaussians, options.size, ours))


def describe(gaussians: int, size: list[int], seconds: float) -> str:
    rate = size[0] * size[1] / seconds
    return f"{gaussians} Gaussians, {size[0]} x {size[1]}: {1e3 * seconds:7.1f} ms, {rate / 1e6:.2f} Mpixel/s"


def scene(count: int, size: tuple[int, int]) -> tuple[list[Tensor], tuple]:
    """A box full of Gaussians that get smaller the more there are, and a camera that looks into it."""
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(count, 3, generator=generator) * 2 - 1 + torch.tensor([0, 0, 3.0])
    scales = torch.exp(torch.randn(count, 3, generator=generator) / 2) * 0.6 * count ** (-1 / 2)
    quats = torch.randn(count, 4, generator=generator)
    opacities, colours = torch.rand(count, generator=generator), torch.rand(count, 3, generator=generator)
    K = torch.tensor([[size[0], 0, size[0] / 2], [0, size[0], size[1] / 2], [0, 0, 1]])
    cloud = [t.requires_grad_() for t in (means, quats, scales, opacities, colours, torch.eye(4))]
    return cloud, (K, size, torch.randn(size[1], size[0], 3, generator=generator))


def timed(draw: Callable, cloud: list[Tensor], view: tuple) -> tuple[float, list[Tensor]]:
    start = time.perf_counter()
    picture = draw(cloud, *view[:2])
    gradients = torch.autograd.grad((picture * view[2]).sum(), cloud)
    return time.perf_counter() - start, [picture.detach(), *gradients]


def by_kernels(cloud: list[Tensor], K: Tensor, size: tuple[int, int]) -> Tensor:
    means, quats, scales, opacities, colours, pose = cloud
    seen = project_gaussians(means, quats, scales, pose, K, size, opacities=opacities)
    return rasterize_gaussians(seen.means2d, seen.conics, seen.depths, seen.radii, opacities, colours, size).features


def by_definition(cloud: list[Tensor], K: Tensor, size: tuple[int, int]) -> Tensor:
    means, quats, scales, opacities, colours, pose = cloud
    means2d, depths, conics, radii, _ = reference.project_gaussians(
        means, quats, scales, pose, K, opacities, *size, 0.3, 0.01, torch.inf
    )
    pixels_px = reference.pixel_grid(size, means.device)
    picture, *_ = reference.rasterize(means2d, conics, depths, radii, opacities, colours, pixels_px)
    return picture.unflatten(0, size[::-1])


if __name__ == "__main__":
    main()
