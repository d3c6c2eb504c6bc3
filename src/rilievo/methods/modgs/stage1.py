"""The first stage: motion alone, from pairs of points, before there are any Gaussians.

An update takes several pairs of frames: a source at random, a target by `motion.pair_table`, near at first and farther
as training goes on. How far it has come lies in the run folder (`motion_file`), so that a resumed run goes on there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor

from rilievo.data.scene import Scene
from rilievo.engine.ray_sampler import step_seed
from rilievo.fields.gabor import GaborNet
from rilievo.fields.motion import InvertibleMotion
from rilievo.motion.objective import Correspondences, batched, forgiven, motion_losses, motion_optimizer
from rilievo.motion.pair_table import target_probabilities, target_weights

from .config import ModgsConfig, MotionConfig
from .motion_file import FILE, Progress, load_stage, save_stage
from .start import Start, prepare

WINDOW_DOUBLINGS = 8
"""The window is twice as wide after each of so many parts of the stage; after each it is written down, too."""

Pairs = dict[tuple[int, int], Correspondences]


def build_motion(config: MotionConfig, seed: int) -> InvertibleMotion:
    """The untrained motion of a config."""
    generator = torch.Generator().manual_seed(step_seed(seed + 5, 0))
    motion = InvertibleMotion(
        time_width=config.time_width,
        time_features=config.time_features,
        projection=config.projection,
        hidden=config.hidden,
        frequencies=config.frequencies,
        affine=config.affine,
        lattice=config.lattice,
        generator=generator,
    )
    motion.time = GaborNet(config.time_features, width=config.time_width, scale=config.time_scale, generator=generator)
    with torch.no_grad():
        for name, parameter in motion.layers.named_parameters():
            if f"steering.layers.{len(config.hidden)}." in name:
                parameter.mul_(config.calm)
    return motion


def first_stage(config: ModgsConfig, scene: Scene, folder: Path) -> tuple[InvertibleMotion, Start]:
    """The trained motion and its start: from `motion.pt` of a run folder, which is written where it is missing, and as
    the stage goes on.

    Raises `UserError` as `prepare` and `load_stage` do.
    """
    motion, path = build_motion(config.motion, config.fit.seed), folder / FILE
    if not path.is_file():
        save_stage(path, motion, prepare(config, scene))
    start, progress = load_stage(path, motion)  # what a resumed run will read, depths in half precision included

    def keep(reached: Progress | None) -> None:
        save_stage(path, motion, start, reached)

    if progress is not None:
        train_motion(config, motion, start.pairs, len(start.depths), progress, keep)
    return motion, start


class PairDraw:
    """Which pair comes next."""

    def __init__(self, pairs: Pairs, frames: int) -> None:
        self.sources = sorted({i for i, _ in pairs})
        counts = torch.zeros(frames, frames, dtype=torch.int64)
        self.there = torch.zeros(frames, frames, dtype=torch.bool)
        for (i, j), points in pairs.items():
            counts[i, j], self.there[i, j] = len(points.source), True
        counts[~self.there.any(1)] = 1  # frames without a pair, which are no source below
        self.weights = target_weights(counts)
        self._tables: dict[int, Float[Tensor, "t t"]] = {}

    def __call__(self, window: int, generator: torch.Generator) -> tuple[int, int]:
        """Frame of origin and of destination."""
        source = self.sources[int(torch.randint(len(self.sources), (), generator=generator))]
        chances = self._table(window)[source]
        return source, int(torch.multinomial(chances, 1, generator=generator))

    def _table(self, window: int) -> Float[Tensor, "t t"]:
        if window not in self._tables:
            table = target_probabilities(self.weights, window) * self.there
            none = table.sum(1) <= 0
            table[none] = self.there[none].double()
            self._tables[window] = table
        return self._tables[window]


def train_motion(
    config: ModgsConfig,
    motion: InvertibleMotion,
    pairs: Pairs,
    frames: int,
    progress: Progress | None = None,
    keep: Callable[[Progress | None], None] | None = None,
) -> Float[Tensor, "steps"]:
    """Train in place; the flow loss of every update, in squared half sides of the box. Without pairs nothing is done.

    The rates fall to `final` of themselves along an exponential. Training goes on from `progress`; `keep` is told now
    and then how far it is, and None at the end.
    """
    settings, seed = config.motion, config.fit.seed
    progress, history = progress or Progress(), torch.zeros(settings.steps)
    optimizer = motion_optimizer(motion, settings.time_rate, settings.space_rate)
    rates = [group["lr"] for group in optimizer.param_groups]
    if progress.optimizer is not None:
        optimizer.load_state_dict(progress.optimizer)
    console = Console(stderr=True)
    steps = range(progress.step, settings.steps if pairs else 0)
    draw = PairDraw(pairs, frames) if pairs else None
    for step in track(steps, "motion", console=console, disable=not console.is_terminal):
        assert draw is not None, "steps without pairs"
        part = _part(step, settings)
        if keep is not None and step > progress.step and part > _part(step - 1, settings):
            keep(Progress(step, optimizer.state_dict()))
        generator = torch.Generator().manual_seed(step_seed(seed + 6, step))
        drawn = [pairs[draw(settings.window * 2**part, generator)] for _ in range(settings.pairs)]
        batch = batched(drawn, settings.points, settings.neighbors if settings.smoothness else 0, generator)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * settings.final ** (step / settings.steps)
        optimizer.zero_grad()
        losses = motion_losses(motion, batch)
        loss = forgiven(losses["flow"], settings.forgive).mean()
        if settings.smoothness:
            loss = loss + settings.smoothness * losses["smoothness"].mean()
        loss.backward()
        optimizer.step()
        history[step] = losses["flow"].detach().mean().cpu()
    if keep is not None:
        keep(None)
    return history


def _part(step: int, settings: MotionConfig) -> int:
    return WINDOW_DOUBLINGS * step // settings.steps
