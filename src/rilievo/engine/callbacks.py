"""What happens beside training: checkpoints, pictures, and a line that says how far it has come."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rilievo.data.scene import Scene
from rilievo.engine import distributed
from rilievo.io.image import write_image
from rilievo.viz.picture import to_bytes
from rilievo.viz.rendering import rendering_grid

PREVIEW_SIDE = 240
"""Longest side of a preview panel, in pixels."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, taken up between two steps."""


class Interruption(pl.Callback):
    """Lets Ctrl-C end training between two steps: a step cut in half would leave a state that no unbroken run has.

    Pressed again it ends training at once, and what was learned since the last checkpoint is lost.
    """

    def __init__(self) -> None:
        self.asked = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._hear)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        # all processes stop after the same step, whichever heard it first
        if self.asked if trainer.world_size == 1 else distributed.total(torch.tensor(int(self.asked))):
            raise Interrupted

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class Checkpoints(pl.Callback):
    """A checkpoint every `every` steps, at the end, and when training is interrupted; the last two are kept."""

    def __init__(self, folder: Path, *, every: int) -> None:
        self.folder, self.every = folder, every
        self.saved_step = -1

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % self.every == 0:
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, Interrupted):
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if self.saved_step == trainer.global_step:
            return
        self.saved_step = trainer.global_step
        for logger in trainer.loggers:
            logger.save()
        trainer.save_checkpoint(self.folder / f"step-{trainer.global_step}.ckpt")  # every process takes part
        if trainer.is_global_zero:
            found = sorted(self.folder.glob("step-*.ckpt"), key=lambda p: int(p.stem.split("-")[1]))
            for old in found[:-2]:
                old.unlink()


class Previews(pl.Callback):
    """Pictures of one held-out view (or the first, where none is held out), every `every` steps and at the end."""

    def __init__(self, scene: Scene, folder: Path, *, every: int) -> None:
        self.folder, self.every = folder, every
        self.view = (scene.test_views or (0,))[0]
        width, height = scene.cameras.sizes_px[self.view].tolist()
        self.camera = scene.cameras[self.view].resized(factor=min(1.0, PREVIEW_SIDE / max(width, height)))
        self.photo, self.time = to_bytes(scene.photograph(self.view)), scene.time_of(self.view)
        self.step_of_last = -1

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % self.every == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._draw(trainer, pl_module)

    def _draw(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero or self.step_of_last == trainer.global_step:
            return
        self.step_of_last = trainer.global_step
        pl_module.model.eval()
        seen = pl_module.model.render(self.camera, 0, self.time)
        pl_module.model.train()
        write_image(self.folder / f"step-{trainer.global_step:06d}.png", rendering_grid(seen, self.photo))


class ProgressLine(pl.Callback):
    """Step, time left and training PSNR; a live bar on a terminal, a line every half minute elsewhere."""

    live = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.console = Console(stderr=True)
        self.live = trainer.is_global_zero and self.console.is_terminal
        self.begun = self.told = time.monotonic()
        self.told_step = trainer.global_step
        if self.live:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            left, psnr = TimeRemainingColumn(), TextColumn("{task.fields[psnr]}")
            self.bar = Progress(*columns, left, psnr, console=self.console)
            self.task = self.bar.add_task("fit", total=trainer.max_steps, completed=trainer.global_step, psnr="")
            self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        psnr, now = trainer.callback_metrics.get("train/psnr", torch.tensor(np.nan)), time.monotonic()
        if self.live:
            self.bar.update(self.task, completed=trainer.global_step, psnr=f"train PSNR {psnr:.1f} dB")
        elif batch_idx == 0:  # kernels are compiled meanwhile, which says nothing about the steps to come
            self.told, self.told_step = now, trainer.global_step
        elif trainer.is_global_zero and now - self.told > 30:
            left = (
                (now - self.told) / (trainer.global_step - self.told_step) * (trainer.max_steps - trainer.global_step)
            )
            self.told, self.told_step = now, trainer.global_step
            progress = f"fit {trainer.global_step}/{trainer.max_steps}  train PSNR {psnr:.1f} dB"
            self.console.print(f"{progress}  {now - self.begun:.0f} s, about {left:.0f} s left")

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.live:
            self.bar.stop()
