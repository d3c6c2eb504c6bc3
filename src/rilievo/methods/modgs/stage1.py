"""The first stage: motion alone, from pairs of points, before there are any Gaussians.

An update takes several pairs of frames: a source at random, a target by `motion.pair_table`, near at first and farther
as training goes on. Its result lies in the run folder as `motion.pt`, so that a resumed run trains it once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor

from rilievo.data.scene import Scene
from rilievo.engine.checkpoint import WholeFileCheckpoints
from rilievo.engine.ray_sampler import step_seed
from rilievo.errors import clear
from rilievo.fields.gabor import GaborNet
from rilievo.fields.motion import InvertibleMotion
from rilievo.motion.neighbors import nearest_neighbors
from rilievo.motion.objective import Correspondences, motion_losses, motion_optimizer
from rilievo.motion.pair_table import UnitBox, target_probabilities, target_weights

from .config import ModgsConfig, MotionConfig
from .start import SeenPoints, Start, prepare

FILE = "motion.pt"
WINDOW_DOUBLINGS = 8
"""The window is twice as wide after each of so many parts of the stage."""

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
    """The trained motion and its start: from `motion.pt` of a run folder, which is written where it is missing.

    Raises `UserError` as `prepare` and `load_stage` do.
    """
    motion, path = build_motion(config.motion, config.fit.seed), folder / FILE
    if path.is_file():
        return motion, load_stage(path, motion)
    start = prepare(config, scene)
    train_motion(config, motion, start.pairs, len(start.depths))
    save_stage(path, motion, start)
    return motion, load_stage(path, motion)  # what a resumed run will read, depths in half precision included


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


def train_motion(config: ModgsConfig, motion: InvertibleMotion, pairs: Pairs, frames: int) -> Float[Tensor, "steps"]:
    """Train in place; the flow loss of every update, in squared half sides of the box. Without pairs nothing is done.

    The rates fall to `final` of themselves along an exponential.
    """
    settings, seed = config.motion, config.fit.seed
    if not pairs:
        return torch.zeros(0)
    draw = PairDraw(pairs, frames)
    optimizer = motion_optimizer(motion, settings.time_rate, settings.space_rate)
    decay = settings.final ** (1 / settings.steps)
    falling = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
    history = torch.zeros(settings.steps)
    console = Console(stderr=True)
    for step in track(range(settings.steps), "motion", console=console, disable=not console.is_terminal):
        generator = torch.Generator().manual_seed(step_seed(seed + 6, step))
        window = settings.window * 2 ** (WINDOW_DOUBLINGS * step // settings.steps)
        optimizer.zero_grad()
        for _ in range(settings.pairs):
            losses = motion_losses(motion, _with_neighbors(pairs[draw(window, generator)], settings))
            flow = losses["flow"].mean()
            loss = flow + settings.smoothness * losses["smoothness"].mean() if settings.smoothness else flow
            (loss / settings.pairs).backward()
            history[step] += flow.detach().cpu() / settings.pairs
        optimizer.step()
        falling.step()
    return history


def save_stage(path: Path, motion: InvertibleMotion, start: Start) -> None:
    """Write the trained motion and what it was trained on, whole or not at all."""
    content: dict[str, Any] = {
        "motion": motion.state_dict(),
        "depths": start.depths.half(),
        "box": {"center": start.box.center, "scale": start.box.scale},
        "pairs": [(i, j, p.start, p.end, p.source, p.target) for (i, j), p in start.pairs.items()],
    }
    content |= {name: vars(getattr(start, name)) for name in ("moving", "still")}
    WholeFileCheckpoints().save_checkpoint(content, path)


def load_stage(path: Path, motion: InvertibleMotion) -> Start:
    """Fill the motion from a file of `save_stage`. Raises `UserError` for one that is damaged or of another config."""
    held = WholeFileCheckpoints().load_checkpoint(path)
    try:
        motion.load_state_dict(held["motion"])
        return Start(
            depths=held["depths"].float(),
            box=UnitBox(**held["box"]),
            pairs={(i, j): Correspondences(x, y, begin, end) for i, j, begin, end, x, y in held["pairs"]},
            moving=SeenPoints(**held["moving"]),
            still=SeenPoints(**held["still"]),
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise clear(
            str(path),
            expected="the first stage of a run with these settings",
            got="other contents",
            do="remove it, and the stage is trained again",
        ) from error


def _with_neighbors(pairs: Correspondences, settings: MotionConfig) -> Correspondences:
    if not settings.smoothness:
        return pairs
    return replace(pairs, neighbors=nearest_neighbors(pairs.source, settings.neighbors))
