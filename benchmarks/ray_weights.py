"""Weights, colour and opacity of 1e6 packed samples, forward and backward: kernel against plain torch, side by side.

Two plain forms are timed. The *definition* (`ops.ray_weights.reference`) walks ray by ray in Python. The *padded* form
is what one would write for speed in torch: rays as rows of one matrix, padded to the longest, and a cumulative product.
Contenders take turns within one run, and medians are reported.

    python benchmarks/ray_weights.py [--samples 1000000] [--rays 8192] [--threads 2] [--repeats 9]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rilievo.ops import ray_weights
from rilievo.ops.ray_weights import reference
from rilievo.ops.threading import threading_layer


def rendered(module: object) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    def render(alpha: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        weights, _ = module.weights_from_alpha(alpha, offsets)
        return module.accumulate(weights, values, offsets), module.accumulate(weights, None, offsets)

    return render


def padded(alpha: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    counts = offsets.diff()
    inside = torch.arange(int(counts.max())) < counts[:, None]
    rows = torch.zeros(inside.shape).masked_scatter(inside, alpha)
    colours = torch.zeros(*inside.shape, values.shape[1]).masked_scatter(inside[..., None], values)
    transmittance = torch.cat([torch.ones(len(rows), 1), (1 - rows)[:, :-1]], dim=1).cumprod(dim=1)
    weights = transmittance * rows
    return (weights[..., None] * colours).sum(dim=1), weights.sum(dim=1, keepdim=True)


def seconds(render: Callable, alpha: Tensor, values: Tensor, offsets: Tensor) -> float:
    start = time.perf_counter()
    colour, opacity = render(alpha, values, offsets)
    torch.autograd.grad(colour.sum() + opacity.square().sum(), (alpha, values))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--rays", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(options.rays, generator=generator) + 0.1  # rays of unequal length, as after skipping empty space
    ends = (share.cumsum(0) / share.sum() * options.samples).round().long()
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), ends])
    alpha = (torch.rand(options.samples, generator=generator) ** 4).requires_grad_()
    values = torch.rand(options.samples, 3, generator=generator).requires_grad_()

    contenders = {"kernel": rendered(ray_weights), "padded": padded, "definition": rendered(reference)}
    repeats = {"kernel": options.repeats, "padded": options.repeats, "definition": min(options.repeats, 3)}
    for name in ("kernel", "padded"):
        seconds(contenders[name], alpha, values, offsets)  # compilation, allocation
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.repeats):
        for name, render in contenders.items():
            if turn < repeats[name]:
                times[name].append(seconds(render, alpha, values, offsets))

    print(
        f"{options.samples} samples, {options.rays} rays of {int(offsets.diff().min())} to {int(offsets.diff().max())} "
        f"samples, 3 channels, forward + backward, float32, {options.threads} threads ({threading_layer()})"
    )
    kernel = statistics.median(times["kernel"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(
            f"{name:>10}  {1e3 * median:10.1f} ms  ({len(measured)} runs)   {median / kernel:7.1f} × the kernel's time"
        )


if __name__ == "__main__":
    main()
