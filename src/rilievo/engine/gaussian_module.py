"""What methods that train Gaussians share: Adam with the published rates, and a strategy that changes their number.

The strategy changes the cloud before a step, not after one, so that a checkpoint between two steps holds what is
gathered and not yet acted on, and a resumed run acts as an unbroken one.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from rilievo.cameras.camera import Cameras
from rilievo.engine.ray_model import SteppedModel
from rilievo.engine.ray_sampler import step_seed
from rilievo.engine.view_module import ViewConfig, ViewModule
from rilievo.engine.view_sampler import ViewSampler
from rilievo.fields.spherical_harmonics import SphericalHarmonics
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.densify import Densification
from rilievo.gaussians.relocation import Relocation
from rilievo.gaussians.rows import Gaussians
from rilievo.gaussians.settings import DensifyConfig, LogLinear, RatesConfig, RelocationConfig
from rilievo.gaussians.strategy import Strategy
from rilievo.ops.gaussian_rasterize import view_colors
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
    """A model drawn from Gaussians: those of one cloud, or of several that are drawn as one.

    Their colours follow the direction by spherical harmonics, of which the bands up to `degree` are in use: one at
    first, and one more every `sh_every` steps.
    """

    gaussians: Gaussians

    def __init__(self, sh_degree: int, sh_every: int) -> None:
        super().__init__()
        self.harmonics = nn.ModuleList(SphericalHarmonics(degree + 1) for degree in range(sh_degree + 1))
        self.sh_every, self.degree = sh_every, 0

    def set_step(self, step: int) -> None:
        self.degree = min(len(self.harmonics) - 1, step // self.sh_every)

    def colors(self, cloud: GaussianCloud, eye: Float[Tensor, "3"]) -> Float[Tensor, "n 3"]:
        """sRGB of each Gaussian of a cloud as seen from a point, not below 0 (it may be above 1)."""
        if cloud.means.device.type == "cpu":
            return view_colors(cloud.means, eye, cloud.sh_dc, cloud.sh_rest, self.degree)
        basis = self.harmonics[self.degree](F.normalize(cloud.means - eye.to(cloud.means), dim=-1))
        rgb = 0.5 + basis[:, :1] * cloud.sh_dc
        if self.degree:
            rgb = rgb + (basis[:, 1:, None] * cloud.sh_rest[:, : basis.shape[1] - 1]).sum(1)
        return rgb.clamp_min(0)

    def clouds(self) -> dict[str, Gaussians]:
        """All that are drawn, by the name of their submodule, in the order in which they are drawn."""
        return {"gaussians": self.gaussians}


class GaussianModule(ViewModule):
    """Subclasses render the model's clouds and hand what was drawn to `watch`.

    Each cloud follows a strategy of its own, within the share of the greatest number that it has of the first.
    """

    model: GaussianModel
    config: GaussianConfig

    def __init__(self, model: GaussianModel, sampler: ViewSampler, config: GaussianConfig, extent: float) -> None:
        super().__init__(model, sampler, config)
        self.extent = extent
        counts = {name: len(gaussians) for name, gaussians in model.clouds().items()}
        total = max(sum(counts.values()), 1)
        self.strategies = nn.ModuleDict(
            {name: _strategy(config, count, count / total, extent) for name, count in counts.items()}
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
        for gaussians, strategy in self._followed():
            strategy.advance(gaussians, optimizer, step, generator)

    def on_after_backward(self) -> None:
        drawn, self._drawn = self._drawn, None
        if drawn is None or drawn.projection.means2d.grad is None:
            return
        height, width = drawn.alpha.shape
        grad = drawn.projection.means2d.grad * drawn.alpha.new_tensor([width / 2, height / 2])
        followed = self._followed()
        counts = [len(gaussians) for gaussians, _ in followed]
        for (_, strategy), *seen in zip(followed, grad.split(counts), drawn.visible.split(counts), strict=True):
            strategy.observe(*seen)

    def configure_optimizers(self) -> Any:
        rates, steps = self.config.rates, self.config.fit.steps
        falling = LogLinear(1.0, rates.final, steps)
        position = LogLinear(1.0, rates.means_final / rates.means, steps)
        groups, factors = [], []
        for gaussians, _ in self._followed():
            for name, parameter in gaussians.named_parameters():
                rate = getattr(rates, name) * (self.extent if name == "means" else 1.0)
                groups.append({"params": [parameter], "lr": rate})
                factors.append(position if name == "means" else falling)
        for name, rate in self.other_rates().items():
            groups.append({"params": list(self.get_submodule(name).parameters()), "lr": rate})
            factors.append(falling)
        optimizer = Adam(groups, betas=BETAS, eps=EPS, fused=True)
        scheduler = LambdaLR(optimizer, [_plain(factor) for factor in factors])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def numbers(self) -> dict[str, float]:
        return {"train/gaussians": float(sum(len(gaussians) for gaussians in self.model.clouds().values()))}

    def _followed(self) -> list[tuple[Gaussians, Strategy]]:
        """The clouds that have any Gaussians, and what changes their number."""
        clouds = [(gaussians, self.strategies[name]) for name, gaussians in self.model.clouds().items()]
        return [(gaussians, cast(Strategy, strategy)) for gaussians, strategy in clouds if len(gaussians)]


def camera_extent(cameras: Cameras) -> float:
    """How far cameras stand around their mean; the unit of learning rates and of what counts as small or large.

    A single camera, or many at one place, have the extent 1.
    """
    away = torch.linalg.vector_norm(cameras.centers - cameras.centers.mean(0), dim=-1)
    return EXTENT_MARGIN * float(away.max()) or 1.0


def _strategy(config: GaussianConfig, count: int, share: float, extent: float) -> Strategy:
    if config.strategy == "densify":
        most = max(1, round(share * config.densify.max_gaussians))
        return Densification(replace(config.densify, max_gaussians=most), count, extent)
    return Relocation(replace(config.relocation, max_gaussians=max(1, round(share * config.relocation.max_gaussians))))


def _plain(factor: LogLinear) -> Any:
    """A plain function, which stays out of the checkpoint: the schedule belongs to the config."""
    return lambda step: factor(step)
