"""What methods that learn from whole pictures share: draw a view, render it, weigh its losses.

The counterpart of `ray_module` for models that draw a picture at once. Training goes from small pictures to large
ones: each of the config's `doublings` is a step from which pictures are twice as wide, the last of them as stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.engine.ray_model import SteppedModel
from rilievo.engine.settings import FitConfig
from rilievo.engine.view_sampler import ViewBatch, ViewSampler
from rilievo.errors import clear


@runtime_checkable
class ViewConfig(Protocol):
    """What is read here of a method's config."""

    @property
    def fit(self) -> FitConfig: ...
    @property
    def losses(self) -> Any:
        """A schedule of the weight by name of the loss."""

    @property
    def background_color(self) -> Literal["random", "white"]: ...
    @property
    def doublings(self) -> tuple[int, ...]: ...


def picture_factor(step: int, doublings: tuple[int, ...]) -> float:
    """Size of training pictures at a step, as a share of the stored size."""
    return 0.5 ** sum(step < doubling for doubling in doublings)


class ViewModule(pl.LightningModule, ABC):
    """Subclasses say what is rendered, lost and optimised."""

    model: SteppedModel
    config: ViewConfig

    def __init__(self, model: SteppedModel, sampler: ViewSampler, config: ViewConfig) -> None:
        super().__init__()
        if config.fit.processes != 1:
            raise clear(
                "--fit.processes",
                expected="1 for a method that learns from one whole picture a step",
                got=str(config.fit.processes),
                do="leave it out; the rasteriser uses all cores by itself",
            )
        self.model, self.sampler, self.config = model, sampler, config

    @abstractmethod
    def render_batch(self, batch: ViewBatch) -> Any:
        """What the model sees from the camera of a batch; offers `rgb`."""

    @abstractmethod
    def losses(self, batch: ViewBatch, out: Any, step: int) -> dict[str, Float[Tensor, "..."]]:
        """Values by name, unreduced; a name without a weight in the config, or with weight zero, may be left out."""

    def weight(self, name: str, step: int) -> float:
        """How much a loss counts now."""
        return getattr(self.config.losses, name)(step)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.model.set_step(self.global_step)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self.global_step
        drawn = self.sampler.batch(step, picture_factor(step, self.config.doublings), device=self.device)
        out = self.render_batch(drawn)
        means = {name: values.mean() for name, values in self.losses(drawn, out, step).items()}
        zero = torch.zeros((), device=self.device)
        loss = sum((self.weight(name, step) * value for name, value in means.items()), zero)
        if step % self.config.fit.log_every == 0:
            self._log(means, loss, drawn, out)
        return loss

    def numbers(self) -> dict[str, float]:
        """What a method adds to the log."""
        return {}

    def _log(self, means: dict[str, Tensor], loss: Tensor, batch: ViewBatch, out: Any) -> None:
        squared = (out.rgb.detach() - batch.rgb).square().mean(-1)
        error = (squared * batch.supervised).sum() / batch.supervised.sum().clamp_min(1)
        psnr = -10 * error.clamp_min(1e-10).log10()
        self.log("train/psnr", psnr, logger=False)
        numbers = {f"loss/{name}": float(value.detach()) for name, value in means.items()}
        numbers |= {"loss/total": float(loss.detach()), "train/psnr": float(psnr)} | self.numbers()
        for logger in self.loggers:  # not by log_dict, which would write them down under a later step
            logger.log_metrics(numbers, step=self.global_step)
