"""What a mesh costs: evaluations, seconds and memory of extract_surface.

    python benchmarks/meshing.py [--threads 2] [--repeat 3]

Each size runs in a process of its own, so that the peak of memory is its own. The share of evaluations is of
resolution³. "own" is the median time of the extraction itself, without the field.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor

from rilievo.meshing import Progress, extract_surface


def sphere(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - 0.7


def measure(resolution: int, repeat: int) -> dict[str, float]:
    one = torch.ones(3)
    extract_surface(sphere, -one, one, 40)  # compiles
    own, total, reports = [], [], list[Progress]()
    for _ in range(repeat):
        asked = 0.0

        def field(points: Tensor) -> Tensor:
            nonlocal asked
            start = time.perf_counter()
            values = sphere(points)
            asked += time.perf_counter() - start
            return values

        start = time.perf_counter()
        mesh = extract_surface(field, -one, one, resolution, progress=reports.append)
        total.append(time.perf_counter() - start)
        own.append(total[-1] - asked)
    return {
        "faces": len(mesh.faces),
        "evaluations": reports[-1].evaluations,
        "share_percent": 100 * reports[-1].evaluations / resolution**3,
        "own_s": statistics.median(own),
        "total_s": statistics.median(total),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.only:
        print(json.dumps(measure(asked.only, asked.repeat)))
        return
    print(f"sphere of radius 0.7 in [-1, 1]³, {asked.threads} threads, median of {asked.repeat}")
    print(f"{'cells':>6} {'faces':>9} {'evaluations':>12} {'share':>7} {'own':>7} {'total':>7} {'peak':>9}")
    for resolution in (128, 256, 512, 1024):
        command = [sys.executable, __file__, "--only", str(resolution)]
        command += ["--threads", str(asked.threads), "--repeat", str(asked.repeat)]
        row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(
            f"{resolution:>6} {row['faces']:>9} {row['evaluations']:>12} {row['share_percent']:>6.2f}% "
            f"{row['own_s']:>6.2f}s {row['total_s']:>6.2f}s {row['peak_gib']:>5.2f} GiB"
        )


if __name__ == "__main__":
    main()
