"""Rays per second against a mesh: our tracer, trimesh, Open3D where it is installed, and trying every face (on few
rays, scaled up); and light directions per second through a training step of nero-material.

python benchmarks/ray_mesh.py [--threads 2] [--repeat 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import trimesh

from rilievo.cameras.rays import Rays
from rilievo.geometry.mesh import TriMesh
from rilievo.meshing import extract_surface
from rilievo.methods.nero_material.config import FAST
from rilievo.methods.nero_material.model import NeroMaterialModel
from rilievo.methods.nero_material.surface import KnownSurface
from rilievo.ops.ray_mesh import MeshTracer, reference

RAYS, TRIED, PIXELS = 500_000, 4, 512


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
    vertices, faces = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces).long()
    generator = torch.Generator().manual_seed(0)
    towards = torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=generator), dim=-1)
    starts = 2 * torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=generator), dim=-1)
    from_eye = starts, torch.nn.functional.normalize(0.7 * towards - starts, dim=-1)
    chosen = torch.randint(len(faces), (RAYS,), generator=generator)
    from_surface = vertices[faces[chosen]].mean(1) + 1e-4 * towards, towards
    tracer = MeshTracer(vertices, faces)
    theirs = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    print(
        f"{len(faces)} faces, {RAYS} rays, {asked.threads} threads, median of {asked.repeat}; million rays per second"
    )
    print(f"building the tree {seconds(lambda: MeshTracer(vertices, faces), asked.repeat):.3f} s")
    for name, (origins, directions) in (("from eyes", from_eye), ("from the surface", from_surface)):
        arrays = origins.numpy(), directions.numpy()
        ways = {
            "first hit": lambda o=origins, d=directions: tracer.first_hit(o, d),
            "occluded": lambda o=origins, d=directions: tracer.occluded(o, d),
            "trimesh first": lambda a=arrays: theirs.ray.intersects_first(*a),
            "trimesh any": lambda a=arrays: theirs.ray.intersects_any(*a),
        }
        if importlib.util.find_spec("open3d") is not None:
            ways |= open3d_ways(mesh, *arrays)
        figures = [f"{way} {RAYS / seconds(work, asked.repeat) / 1e6:6.2f}" for way, work in ways.items()]
        slow = seconds(
            lambda o=origins, d=directions: reference.first_hit(o[:TRIED], d[:TRIED], vertices, faces), asked.repeat
        )
        print(f"{name:<18} " + "   ".join(figures) + f"   every face {TRIED / slow / 1e6:.6f}")
    shading(mesh, asked.repeat)


def open3d_ways(mesh: TriMesh, origins: np.ndarray, directions: np.ndarray) -> dict[str, Callable[[], object]]:
    import open3d

    scene = open3d.t.geometry.RaycastingScene()
    core = open3d.core
    scene.add_triangles(core.Tensor(mesh.vertices.astype(np.float32)), core.Tensor(mesh.faces.astype(np.uint32)))
    rays = core.Tensor(np.concatenate([origins, directions], -1).astype(np.float32))
    return {
        "Open3D first": lambda: scene.cast_rays(rays),
        "Open3D any": lambda: scene.test_occlusions(rays),
    }


def shading(mesh: TriMesh, repeat: int) -> None:
    """Rays to the light that are traced, shaded and learned from, forward and backward."""
    model = NeroMaterialModel(FAST, KnownSurface(mesh))
    generator = torch.Generator().manual_seed(1)
    starts = 2 * torch.nn.functional.normalize(torch.randn(PIXELS, 3, generator=generator), dim=-1)
    rays = Rays(starts, torch.nn.functional.normalize(-starts, dim=-1))
    squares = torch.rand(1, 2, FAST.directions // 2, 2, generator=generator)

    def step() -> int:
        out = model(rays, torch.ones(3), squares)
        out.rgb.square().mean().backward()
        return out.n_samples

    count = step()
    print(f"shading {count} directions of {PIXELS} pixels, with gradients: {count / seconds(step, repeat) / 1e6:.2f}")


if __name__ == "__main__":
    main()
