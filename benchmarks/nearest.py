"""Seconds for 200,000 nearest-point queries to a mesh: the tree, and trying every face (on fewer points, scaled up).

python benchmarks/nearest.py [--threads 2] [--repeat 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from rilievo.meshing import extract_surface
from rilievo.ops.nearest import SurfaceTree, reference

QUERIES, TRIED = 200_000, 4


def seconds(work: Callable[[], object], repeat: int) -> float:
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    one = torch.ones(3)

    def gyroid_ball(p: torch.Tensor) -> torch.Tensor:
        wave = (torch.sin(8 * p) * torch.cos(8 * p.roll(-1, dims=-1))).sum(dim=-1)
        return torch.maximum(wave / 14, p.norm(dim=-1) - 0.9)

    mesh = extract_surface(gyroid_ball, -one, one, 160)
    vertices, faces = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)
    generator = torch.Generator().manual_seed(0)
    near = vertices[torch.randint(len(vertices), (QUERIES,), generator=generator)]
    near = near + 0.01 * torch.randn(near.shape, generator=generator)
    far = 2 * torch.rand(QUERIES, 3, generator=generator) - 1
    tree = SurfaceTree(vertices, faces)
    print(f"{len(faces)} faces, {QUERIES} points, {asked.threads} threads, median of {asked.repeat}")
    print(f"building the tree        {seconds(lambda: SurfaceTree(vertices, faces), asked.repeat):8.3f} s")
    for name, points in (("near the surface", near), ("anywhere in the box", far)):
        fast = seconds(lambda points=points: tree.nearest(points), asked.repeat)
        slow = seconds(
            lambda points=points: reference.nearest_on_surface(points[:TRIED], vertices, faces), asked.repeat
        )
        print(f"{name:<24} {fast:8.3f} s   every face {slow * QUERIES / TRIED:10.0f} s")


if __name__ == "__main__":
    main()
