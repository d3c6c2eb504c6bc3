"""What methods that train Gaussians share: Adam with the published rates, and a strategy that changes their number.

The strategy changes the cloud before a step, not after one, so that a checkpoint between two steps holds what is
gathered and not yet acted on, and a resumed run acts as an unbroken one.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from rilievo.cameras.camera import Cameras
from rilievo.engine.ray_model import SteppedModel
from rilievo.engine.ray_sampler import step_seed
from rilievo.engine.view_module import ViewConfig, ViewModule
from rilievo.engine.view_sampler import ViewSampler
from rilievo.gaussians.densify import Densification
from rilievo.gaussians.relocation import Relocation
from rilievo.gaussians.rows import Gaussians
from rilievo.gaussians.settings import DensifyConfig, LogLinear, RatesConfig, RelocationConfig
from rilievo.gaussians.strategy import Strategy
from rilievo.renderers.splat import SplatRender

BETAS, EPS = (0.9, 0.999), 1e-15
"""Of the published Adam: an ε this small lets Gaussians that are seldom seen learn as fast as the others."""
EXTENT_MARGIN = 1.1
"""The scene's extent is this times the largest distance of a camera from their mean (the published choice)."""


@runtime_checkable
class GaussianConfig(ViewConfig, Protocol):
    """What is read here of a method's config."""

    @property
    def strategy(self) -> Literal["densify", "relocate"]: ...
    @property
    def densify(self) -> DensifyConfig: ...
    @property
    def relocation(self) -> RelocationConfig: ...
    @property
    def rates(self) -> RatesConfig: ...


class GaussianModel(SteppedModel):
    """A model drawn from Gaussians."""

    gaussians: Gaussians


class GaussianModule(ViewModule):
    """Subclasses render with `model.gaussians` and hand what was drawn to `watch`."""

    model: GaussianModel
    config: GaussianConfig

    def __init__(self, model: GaussianModel, sampler: ViewSampler, config: GaussianConfig, extent: float) -> None:
        super().__init__(model, sampler, config)
        self.extent = extent
        self.strategy: Strategy = (
            Densification(config.densify, len(model.gaussians), extent)
            if config.strategy == "densify"
            else Relocation(config.relocation)
        )
        self._drawn: SplatRender | None = None

    @abstractmethod
    def other_rates(self) -> dict[str, float]:
        """Learning rates, by name of the submodule, of all that is trained beside the Gaussians."""

    def watch(self, drawn: SplatRender) -> None:
        """Remember what the strategy looks at after the backward pass."""
        self._drawn = drawn

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        step = self.global_step
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 3, step))
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Adam)
        self.strategy.advance(self.model.gaussians, optimizer, step, generator)

    def on_after_backward(self) -> None:
        drawn, self._drawn = self._drawn, None
        if drawn is not None and drawn.projection.means2d.grad is not None:
            height, width = drawn.alpha.shape
            grad = drawn.projection.means2d.grad
            self.strategy.observe(grad * grad.new_tensor([width / 2, height / 2]), drawn.visible)

    def configure_optimizers(self) -> Any:
        rates, steps = self.config.rates, self.config.fit.steps
        falling = LogLinear(1.0, rates.final, steps)
        position = LogLinear(1.0, rates.means_final / rates.means, steps)
        groups, factors = [], []
        for name, parameter in self.model.gaussians.named_parameters():
            rate = getattr(rates, name) * (self.extent if name == "means" else 1.0)
            groups.append({"params": [parameter], "name": name, "lr": rate})
            factors.append(position if name == "means" else falling)
        for name, rate in self.other_rates().items():
            groups.append({"params": list(self.get_submodule(name).parameters()), "name": name, "lr": rate})
            factors.append(falling)
        optimizer = Adam(groups, betas=BETAS, eps=EPS, fused=True)
        scheduler = LambdaLR(optimizer, [_plain(factor) for factor in factors])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def numbers(self) -> dict[str, float]:
        return {"train/gaussians": float(len(self.model.gaussians))}


def camera_extent(cameras: Cameras) -> float:
    """How far cameras stand around their mean; the unit of learning rates and of what counts as small or large.

    A single camera, or many at one place, have the extent 1.
    """
    away = torch.linalg.vector_norm(cameras.centers - cameras.centers.mean(0), dim=-1)
    return EXTENT_MARGIN * float(away.max()) or 1.0


def _plain(factor: LogLinear) -> Any:
    """A plain function, which stays out of the checkpoint: the schedule belongs to the config."""
    return lambda step: factor(step)
