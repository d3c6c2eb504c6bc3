"""Hash encoding, forward and backward by points and table: kernel against the plain definition, eager and compiled.

The definition (`ops.hash_encode.reference`) is timed as it stands and under `torch.compile`, which writes C++, needs
g++ to build it and takes minutes to do so. Contenders take turns within one run, after turns that are not counted, and
medians are reported.

    python benchmarks/hash_encode.py [--threads 2] [--repeats 7]
"""

import argparse
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from rilievo.ops.hash_encode import HashGridSpec, hash_encode, reference
from rilievo.ops.threading import threading_layer

CASES = {
    "a large batch": (262_144, HashGridSpec(16, 2, 19, 16, 1.447)),
    "a batch of training": (32_768, HashGridSpec(12, 2, 17, 16, 1.447)),
}


def contenders(spec: HashGridSpec) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    def definition(x: Tensor, table: Tensor) -> Tensor:
        return reference.hash_encode(x, table, spec, spec.n_levels)

    found = {"kernel": lambda x, table: hash_encode(x, table, spec), "eager": definition}
    if shutil.which("g++"):
        torch.compiler.reset()
        found["compiled"] = torch.compile(definition, fullgraph=True)  # a graph in pieces would be eager in disguise
    return found


def seconds(encode: Callable[[Tensor, Tensor], Tensor], x: Tensor, table: Tensor, cotangent: Tensor) -> float:
    start = time.perf_counter()
    torch.autograd.grad(encode(x, table), (x, table), cotangent)
    return time.perf_counter() - start


def measure(points: int, spec: HashGridSpec, repeats: int) -> dict[str, list[float]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(points, 3, generator=generator).requires_grad_()
    table = torch.randn(spec.total_entries, spec.features_per_level, generator=generator).requires_grad_()
    cotangent = torch.randn(points, spec.output_dim, generator=generator)
    encoders = contenders(spec)
    for encode in encoders.values():
        for _ in range(2):  # compilation (torch.compile may see cause for a second one), allocation
            seconds(encode, x, table, cotangent)
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(repeats):
        for name, encode in encoders.items():
            times[name].append(seconds(encode, x, table, cotangent))
    return times


def processor() -> str:
    """The name of the processor, where the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    print(f"{processor()}, torch {torch.__version__}, {options.threads} threads ({threading_layer()}), float32")
    if not shutil.which("g++"):
        print("compiled: skipped, because torch.compile needs a C++ compiler and g++ is not found")
    for case, (points, spec) in CASES.items():
        times = measure(points, spec, options.repeats)
        print(f"\n{case}: {points} points, {spec}, forward + backward, medians of {options.repeats}")
        kernel = statistics.median(times["kernel"])
        for name, measured in times.items():
            median = statistics.median(measured)
            print(f"{name:>10}  {1e3 * median:10.1f} ms   {median / kernel:7.1f} × the kernel's time")


if __name__ == "__main__":
    main()
