"""What methods that learn from rays share: draw a batch, render it, weigh its losses, keep the occupancy grid fresh.

A method gives a model and names its losses, one value per ray or sample; here they are averaged over all processes,
weighted with the schedules of the config, summed and logged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.data.scene import Scene
from rilievo.engine import distributed
from rilievo.engine.optim import adamw, follow
from rilievo.engine.ray_model import RayModel
from rilievo.engine.ray_sampler import RayBatch, RaySampler, step_seed
from rilievo.engine.schedules import next_ray_count
from rilievo.engine.settings import FitConfig, OccupancyConfig, OptimConfig


@runtime_checkable
class RayConfig(Protocol):
    """What is read here of a method's config."""

    @property
    def fit(self) -> FitConfig: ...
    @property
    def optim(self) -> OptimConfig: ...
    @property
    def occupancy(self) -> OccupancyConfig: ...
    @property
    def losses(self) -> Any:
        """A schedule of the weight by name of the loss."""

    @property
    def background_color(self) -> Literal["random", "white"]: ...


class RayModule(pl.LightningModule, ABC):
    """Subclasses say what is rendered and lost."""

    model: RayModel
    config: RayConfig

    def __init__(self, model: RayModel, scene: Scene, config: RayConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        random_background = config.background_color == "random"
        self.sampler = RaySampler(scene, random_background=random_background, seed=config.fit.seed)
        self.n_rays: Tensor
        self.register_buffer("n_rays", torch.tensor(config.fit.rays))

    @abstractmethod
    def learning_rates(self) -> dict[str, float]:
        """Learning rate by name of the model's part."""

    @abstractmethod
    def render_batch(self, batch: RayBatch) -> Any:
        """What the model sees along the rays of a batch; offers `rgb` and `n_samples`."""

    @abstractmethod
    def losses(self, batch: RayBatch, out: Any, step: int) -> dict[str, Float[Tensor, "_"]]:
        """Values by name, unreduced; a name without a weight in the config, or with weight zero, may be left out."""

    def weight(self, name: str, step: int) -> float:
        """How much a loss counts now."""
        return getattr(self.config.losses, name)(step)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        step = self.global_step
        self.model.set_step(step)
        occupancy = self.config.occupancy
        if step % occupancy.update_every == 0:
            fraction = 1.0 if step < occupancy.warmup_steps else occupancy.fraction
            seed = step_seed(self.config.fit.seed + 1, step)
            self.model.update_occupancy(seed=seed, fraction=fraction)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self.global_step
        drawn = self.sampler.batch(
            step, int(self.n_rays), part=self.global_rank, parts=self.trainer.world_size, device=self.device
        )
        out = self.render_batch(drawn)
        means = {name: distributed.mean(values) for name, values in self.losses(drawn, out, step).items()}
        loss = sum(
            (self.weight(name, step) * value for name, value in means.items()), torch.zeros((), device=self.device)
        )
        self._log(means, loss, drawn, out)
        if self.config.fit.samples:
            samples = int(distributed.total(torch.tensor(out.n_samples, device=self.device)))
            rays = next_ray_count(int(self.n_rays), samples, self.config.fit.samples, self.config.fit.max_rays)
            self.n_rays.fill_(rays)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = adamw(self.model, self.learning_rates(), weight_decay=self.config.optim.weight_decay)
        scheduler = follow(optimizer, self.config.optim.schedule(self.config.fit.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _log(self, means: dict[str, Tensor], loss: Tensor, batch: RayBatch, out: Any) -> None:
        if self.global_step % self.config.fit.log_every:
            return
        error = distributed.average(distributed.mean((out.rgb.detach() - batch.rgb).square().mean(-1)))
        psnr = -10 * error.clamp_min(1e-10).log10()
        self.log("train/psnr", psnr, logger=False)
        numbers = {f"loss/{name}": float(distributed.average(value)) for name, value in means.items()}
        numbers |= {"loss/total": float(distributed.average(loss)), "train/psnr": float(psnr)}
        numbers |= {"train/rays": float(self.n_rays), "train/samples": float(out.n_samples)}
        for logger in self.loggers:  # not by log_dict, which would write them down under a later step
            logger.log_metrics(numbers, step=self.global_step)
