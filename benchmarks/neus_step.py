"""One training step of `neus` at 256 rays, preset fast, and where its time goes.

The step is timed whole as training runs it (batch, rendering, losses, backward, optimiser, its share of occupancy
updates) on the demo's capture, after enough steps for the surface to be found; before that, rays meet fuzzier space
and cost more, and the first steps are timed too. The median is reported; then torch's profiler says what the time
went to.

    python benchmarks/neus_step.py [--capture SCENE] [--rays 256] [--threads 2] [--warm 600] [--steps 96]
"""

import argparse
import statistics
import tempfile
import time
import types
from dataclasses import replace
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from rilievo.data.load import load_scene
from rilievo.demo.capture import write_capture
from rilievo.methods.neus.config import FAST
from rilievo.methods.neus.module import NeusModule


class Steps:
    """Training without a trainer: what `RayModule` does in a step, and nothing else."""

    def __init__(self, module: NeusModule) -> None:
        self.module, self.step = module, 0
        module._trainer = types.SimpleNamespace(world_size=1, global_rank=0, global_step=0)
        made = module.configure_optimizers()
        self.optimizer, self.scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
        module._log = lambda *arguments: None

    def __call__(self) -> None:
        self.module._trainer.global_step = self.step
        self.module.on_train_batch_start(None, 0)
        loss = self.module.training_step(None, 0)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1


def median_ms(steps: Steps, count: int) -> float:
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        steps()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", type=Path, help="a scene folder; the demo's capture when left out")
    parser.add_argument("--rays", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warm", type=int, default=600, help="steps with the preset's own batches before timing")
    parser.add_argument("--steps", type=int, default=96)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        capture = options.capture or Path(folder) / "capture"
        if options.capture is None:
            write_capture(capture)
        module = NeusModule(FAST, load_scene(capture).normalised()).train()
    steps = Steps(module)
    module.fit_config = replace(FAST.fit, samples=0)
    module.n_rays.fill_(options.rays)
    first = median_ms(steps, options.steps)
    module.fit_config = FAST.fit
    module.n_rays.fill_(FAST.fit.rays)
    fit = [median_ms(steps, 1) for _ in range(options.warm)]
    own = statistics.median(fit[len(fit) // 2 :])
    rays = int(module.n_rays)
    module.fit_config = replace(FAST.fit, samples=0)
    module.n_rays.fill_(options.rays)
    later = median_ms(steps, options.steps)

    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; medians of {options.steps} steps, preset fast"
    )
    print(f"  first steps, {options.rays} rays           {first:7.1f} ms")
    print(f"  after {steps.step - options.steps} steps, {options.rays} rays       {later:7.1f} ms")
    print(f"  the preset's own batch, {rays} rays  {own:7.1f} ms")
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(16):
            steps()
    print("self time by operator over 16 steps:")
    events = sorted(seen.key_averages(), key=lambda e: -e.self_cpu_time_total)
    whole = sum(e.self_cpu_time_total for e in events)
    for event in events[:16]:
        share = event.self_cpu_time_total / whole
        print(
            f"  {share:6.1%} {event.self_cpu_time_total / 16e3:7.2f} ms  {event.count // 16:4d} calls  {event.key[:60]}"
        )


if __name__ == "__main__":
    main()
