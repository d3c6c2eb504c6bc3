"""One first-stage training step of `modgs` at 100,000 points: seconds and peak memory, beside the published code's.

The step carries the points of one frame to the canonical space and on to another frame, takes the flow loss and the
smoothness over 19 neighbours (found beforehand, as the published code does after its first visit of a pair), goes
backwards and lets Adam step; one thread. Three forms:

* fast: the networks of preset fast, evaluated at every point;
* lattice: networks of the published sizes, tabulated on a lattice (`--motion.lattice`);
* exact: networks of the published sizes at every point; time enters once per step instead of once per point,
  activations are recomputed in chunks that fit the cache. Its matrix products alone are 1.0e12 operations at 100,000
  points (1.3e12 with what is recomputed), so a core of 60 GFLOP/s cannot take less than a quarter of a minute.

The points are those of a depth map: a surface in [-1, 1]³, one point per pixel. Each form runs in its own process, so
that its peak memory is its own (the interpreter and torch included).

    python benchmarks/motion_step.py [--points 100000] [--lattice 0.03125] [--steps 3]
"""

import argparse
import math
import resource
import subprocess
import sys
import time

import torch

from rilievo.fields.motion import InvertibleMotion
from rilievo.methods.modgs.config import PRESETS
from rilievo.methods.modgs.stage1 import build_motion
from rilievo.motion.neighbors import nearest_neighbors
from rilievo.motion.objective import Correspondences, motion_losses, motion_optimizer

FORMS = ("fast", "lattice", "exact")
PUBLISHED_S, PUBLISHED_GIB = 28.5, 7.42
"""CPU seconds on one thread and peak resident memory of the published step (golden/dynamic/baseline_timings.json)."""


def depth_map_points(count: int) -> torch.Tensor:
    """A bumpy surface seen by one camera, a point per pixel."""
    rows = math.ceil(math.sqrt(count * 3 / 4))
    columns = math.ceil(count / rows)
    y, x = torch.meshgrid(torch.linspace(-0.75, 0.75, rows), torch.linspace(-1, 1, columns), indexing="ij")
    generator = torch.Generator().manual_seed(0)
    z = 0.4 * torch.sin(3 * x) * torch.cos(4 * y) + 0.3 * (x.square() + y.square() < 0.1)
    z = z + 2e-3 * torch.randn(z.shape, generator=generator)
    return torch.stack((x, y, z), dim=-1).reshape(-1, 3)[:count].contiguous()


def network(form: str, lattice: float) -> InvertibleMotion:
    if form == "fast":
        return build_motion(PRESETS["fast"].motion, 0)
    spacing = lattice if form == "lattice" else None
    return InvertibleMotion(lattice=spacing, generator=torch.Generator().manual_seed(0))


def run(form: str, points: int, lattice: float, steps: int) -> None:
    torch.set_num_threads(1)
    source = depth_map_points(points)
    moved = source + 0.05 * torch.sin(2 * source.roll(1, dims=1))
    pairs = Correspondences(source, moved, 0.2, 0.6, nearest_neighbors(source, 19))
    motion = network(form, lattice)
    optimizer = motion_optimizer(motion)
    seconds = []
    for _ in range(steps):
        begun = time.process_time()
        losses = motion_losses(motion, pairs)
        optimizer.zero_grad()
        (losses["flow"].mean() + losses["smoothness"].mean()).backward()
        optimizer.step()
        seconds.append(time.process_time() - begun)
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    best = min(seconds)
    name = f"lattice {lattice:g}" if form == "lattice" else form
    print(
        f"{name:16s} {best:6.2f} CPU s ({best / PUBLISHED_S:.3f} of {PUBLISHED_S})   "
        f"{gib:5.2f} GiB ({gib / PUBLISHED_GIB:.3f} of {PUBLISHED_GIB})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--lattice", type=float, default=1 / 32, help="spacing")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", choices=FORMS, help="this form alone, in this process")
    options = parser.parse_args()
    if options.only:
        run(options.only, options.points, options.lattice, options.steps)
        return
    print(f"torch {torch.__version__}, one thread, {options.points} points, best of {options.steps} steps", flush=True)
    arguments = ["--points", str(options.points), "--lattice", str(options.lattice), "--steps", str(options.steps)]
    for form in FORMS:
        subprocess.run([sys.executable, __file__, "--only", form, *arguments], check=True)


if __name__ == "__main__":
    main()
