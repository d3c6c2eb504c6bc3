"""Marching rays through an occupancy grid: kernel against plain torch, side by side, with equal samples required.

The plain form (`ops.ray_march.reference`) moves all rays together, a step at a time. Contenders take turns within one
run, and medians are reported.

    python benchmarks/ray_march.py [--rays 4096] [--resolution 128] [--threads 2] [--repeats 7]
"""

import argparse
import math
import statistics
import time

import torch
from torch.nn.functional import normalize

from rilievo.ops.ray_march import march_rays, reference
from rilievo.ops.ray_march.schedule import uniform_step
from rilievo.ops.threading import threading_layer

THICKNESS = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rays", type=int, default=4096)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    origins = 2.5 * normalize(torch.randn(options.rays, 3, generator=generator), dim=1)
    directions = normalize(torch.rand(options.rays, 3, generator=generator) * 1.6 - 0.8 - origins, dim=1)
    near, far = torch.zeros(options.rays), torch.full((options.rays,), 4.5)
    axis = (torch.arange(options.resolution) + 0.5) / options.resolution * 2 - 1
    centres = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    step = uniform_step(radius=1.0, samples=1024)
    print(
        f"{options.rays} rays, grid {options.resolution}³, step {step:.5f}, "
        f"{options.threads} threads ({threading_layer()})"
    )

    for name, occupied in {
        "shell": (centres.norm(dim=-1) - 0.6).abs() < THICKNESS,
        "ball": centres.norm(dim=-1) < 0.6,
        "nothing": torch.zeros((options.resolution,) * 3, dtype=torch.bool),
    }.items():
        kernel, plain = [], []
        for _ in range(options.repeats + 1):  # the first turn compiles and allocates
            start = time.perf_counter()
            samples = march_rays(origins, directions, near, far, occupied, radius=1.0, contraction="box", step=step)
            kernel.append(time.perf_counter() - start)
            if len(plain) < 4:
                start = time.perf_counter()
                offsets, t_starts, _ = reference.march_rays(
                    origins, directions, near, far, occupied, 1.0, False, step, 0.0, math.inf, -1
                )
                plain.append(time.perf_counter() - start)
        assert torch.equal(samples.offsets, offsets)
        assert torch.equal(samples.t_starts, t_starts)
        ours, theirs = statistics.median(kernel[1:]), statistics.median(plain[1:])
        print(
            f"{name:>8}  {len(samples):8d} samples   kernel {1e3 * ours:7.2f} ms   plain torch {1e3 * theirs:8.1f} ms"
            f"   {theirs / ours:7.1f} ×"
        )


if __name__ == "__main__":
    main()
