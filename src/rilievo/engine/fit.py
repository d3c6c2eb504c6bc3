"""Training, with PyTorch Lightning: devices, processes, precision, logs, checkpoints and resuming.

Steps are all there is: a batch is a function of the step (`ray_sampler`), so the data loader only counts, and a run
that goes on from a checkpoint gives the numbers an unbroken one would.
"""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from typing import TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset

from rilievo.data.scene import Scene
from rilievo.engine.callbacks import Checkpoints, Interruption, Previews, ProgressLine
from rilievo.engine.checkpoint import WholeFileCheckpoints, read
from rilievo.engine.metrics_file import MetricsFile
from rilievo.engine.settings import FitConfig
from rilievo.engine.workspace import Workspace
from rilievo.errors import clear

M = TypeVar("M", bound=pl.LightningModule)


class _Endless(IterableDataset):
    """Ticks: a batch is made where it is used."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


def fit(module: M, scene: Scene, config: FitConfig, workspace: Workspace) -> M:
    """Train to `config.steps`, from the workspace's last checkpoint if it has one.

    Leaves checkpoints/, log/ and preview/ in the workspace. Raises `UserError` for a device that is not there or a
    checkpoint that cannot be read; an interrupted run keeps a checkpoint of its last step and raises
    KeyboardInterrupt.
    """
    resume = workspace.latest_checkpoint()
    if resume is not None:
        read(resume)  # a damaged one is refused here, before processes are started that could not say so
    checkpoints = Checkpoints(workspace.checkpoints, every=config.checkpoint_every)
    _quiet_lightning()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|lightning_utilities")
        trainer = pl.Trainer(
            max_steps=config.steps,
            max_epochs=-1,
            accelerator=accelerator(config.device),
            devices=config.processes,
            strategy="auto" if config.processes == 1 else "ddp_spawn" if accelerator(config.device) == "cpu" else "ddp",
            precision=config.precision,
            logger=[TensorBoardLogger(workspace.log, name="", version=""), MetricsFile(workspace.log / "metrics.csv")],
            log_every_n_steps=config.log_every * 5,
            callbacks=[
                checkpoints,
                Previews(scene, workspace.preview, every=config.preview_every),
                ProgressLine(),
                Interruption(),
            ],
            plugins=[WholeFileCheckpoints()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, DataLoader(_Endless(), batch_size=None), ckpt_path=resume)
        except SystemExit as stop:  # how Lightning ends after Ctrl-C, once it has let the callbacks save
            raise KeyboardInterrupt from stop
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, on_interrupt)
    return module


def accelerator(device: str) -> str:
    """The device to compute on. Raises `UserError` when a GPU is asked for and there is none."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise clear("--device", expected="a CUDA device", got="none on this machine", do="use --device cpu or auto")
    return device


def _quiet_lightning() -> None:
    """Lightning's own announcements (devices found, tips) say nothing a user of ours can act on."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
