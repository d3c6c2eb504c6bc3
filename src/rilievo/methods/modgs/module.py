"""The second stage: Gaussians and motion together, from pictures (MoDGS, section 3.3).

Moving and still Gaussians each follow their own strategy, within a share of the greatest number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from rilievo import losses
from rilievo.data.scene import Scene
from rilievo.engine.gaussian_module import BETAS, EPS, GaussianModule
from rilievo.engine.ray_sampler import step_seed
from rilievo.engine.view_sampler import ViewBatch, ViewSampler
from rilievo.fields.motion import InvertibleMotion
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.densify import Densification
from rilievo.gaussians.relocation import Relocation
from rilievo.gaussians.rows import Gaussians
from rilievo.gaussians.settings import LogLinear
from rilievo.gaussians.spacing import neighbour_distance
from rilievo.gaussians.strategy import Strategy
from rilievo.losses import ordinal_depth
from rilievo.motion.objective import batched, forgiven, motion_losses

from .clip import training_order
from .config import ModgsConfig
from .model import ModgsModel
from .stage1 import PairDraw
from .start import SeenPoints, Start

EXTENT = 1.0
"""Learning rates and sizes are in region radii: cameras of a clip stand too close together to be a measure."""
JOINT_PAIRS = 2
"""Pairs of frames in an update of the second stage, where their loss has a weight."""
SEEN = 0.5
"""Opacity from which rendered depth is compared."""


@dataclass(frozen=True)
class ModgsView:
    """A training picture as the model has it; equal to the photo where that says nothing."""

    rgb: Float[Tensor, "h w 3"]
    depth: Float[Tensor, "h w"]
    """Expected depth of what is seen."""
    seen: Bool[Tensor, "h w"]
    """Where that means something."""


class ModgsModule(GaussianModule):
    """Trains a `ModgsModel` on the frames of a normalised scene, from what the first stage left."""

    model: ModgsModel
    config: ModgsConfig
    still_strategy: Strategy

    def __init__(self, config: ModgsConfig, scene: Scene, motion: InvertibleMotion, start: Start) -> None:
        sampler = ViewSampler(scene, random_background=config.background_color == "random", seed=config.fit.seed)
        model = ModgsModel(config, scene, motion, start.box)
        model.gaussians = Gaussians(_canonical_cloud(config, model, start.moving))
        model.still = Gaussians(_cloud(config, start.still))
        super().__init__(model, sampler, config, EXTENT)
        total = max(len(model.gaussians) + len(model.still), 1)
        self.strategy, self.still_strategy = (
            _strategy(config, part, len(part) / total) for part in (model.gaussians, model.still)
        )
        self.depths = dict(zip(training_order(scene), start.depths))
        self.pairs = start.pairs
        self.draw = PairDraw(start.pairs, len(start.depths)) if start.pairs else None

    def other_rates(self) -> dict[str, float]:
        settings, motion = self.config.motion, self.model.motion
        if not len(self.model.gaussians):
            return {}
        rates = {"time": settings.time_rate, "layers": settings.space_rate}
        if motion.affine is not None:
            rates["affine"] = settings.space_rate
        return {f"model.motion.{part}": settings.joint * rate for part, rate in rates.items()}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.model.set_step(self.global_step)
        step = self.global_step
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 3, step))
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Adam)
        for gaussians, strategy in self._parts():
            strategy.advance(gaussians, optimizer, step, generator)

    def on_after_backward(self) -> None:
        drawn, self._drawn = self._drawn, None
        if drawn is None or drawn.projection.means2d.grad is None:
            return
        height, width = drawn.alpha.shape
        grad = drawn.projection.means2d.grad * drawn.alpha.new_tensor([width / 2, height / 2])
        counts = [len(self.model.gaussians), len(self.model.still)]
        for part, strategy in zip((0, 1), (self.strategy, self.still_strategy)):
            if counts[part]:
                strategy.observe(grad.split(counts)[part], drawn.visible.split(counts)[part])

    def configure_optimizers(self) -> Any:
        rates, steps = self.config.rates, self.config.fit.steps
        falling = LogLinear(1.0, rates.final, steps)
        position = LogLinear(1.0, rates.means_final / rates.means, steps)
        groups, factors = [], []
        for gaussians, _ in self._parts():
            for name, parameter in gaussians.named_parameters():
                groups.append({"params": [parameter], "lr": getattr(rates, name) * self.extent})
                factors.append(position if name == "means" else falling)
        for name, rate in self.other_rates().items():
            groups.append({"params": list(self.get_submodule(name).parameters()), "lr": rate})
            factors.append(falling)
        optimizer = Adam(groups, betas=BETAS, eps=EPS, fused=True)
        scheduler = LambdaLR(optimizer, [_plain(factor) for factor in factors])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def render_batch(self, batch: ViewBatch) -> ModgsView:
        assert batch.time is not None, "a clip has times"
        drawn = self.model(batch.camera, batch.time, batch.background)
        self.watch(drawn)
        rgb = torch.where(batch.supervised[..., None], drawn.features, batch.rgb)
        return ModgsView(rgb, drawn.depth / drawn.alpha.clamp_min(SEEN), drawn.alpha > SEEN)

    def losses(self, batch: ViewBatch, out: ModgsView, step: int) -> dict[str, Float[Tensor, "..."]]:
        values: dict[str, Tensor] = {"rgb_l1": losses.l1(out.rgb.flatten(0, 1), batch.rgb.flatten(0, 1))}
        if self.weight("dssim", step):
            values["dssim"] = losses.dssim(out.rgb, batch.rgb)
        if self.weight("order", step) or self.weight("depth", step):
            values |= self._depth_losses(batch, out, step)
        if self.weight("pairs", step) and self.draw is not None:
            generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 7, step))
            drawn = [self.pairs[self.draw(len(self.depths), generator)] for _ in range(JOINT_PAIRS)]
            batch_of_pairs = batched(drawn, self.config.motion.points, 0, generator).to(self.device)
            missed = motion_losses(self.model.motion, batch_of_pairs)["flow"]
            values["pairs"] = forgiven(missed, self.config.motion.forgive)
        parts = [gaussians.cloud for gaussians, _ in self._parts()]
        if self.weight("opacity", step) and parts:
            values["opacity"] = torch.cat([cloud.opacities for cloud in parts])
        if self.weight("scale", step) and parts:
            values["scale"] = torch.cat([cloud.scales for cloud in parts]) / self.extent
        return values

    def numbers(self) -> dict[str, float]:
        return {
            "train/gaussians": float(len(self.model.gaussians) + len(self.model.still)),
            "train/moving": float(len(self.model.gaussians)),
        }

    def _parts(self) -> list[tuple[Gaussians, Strategy]]:
        """The clouds that have any Gaussians, and what changes their number."""
        both = [(self.model.gaussians, self.strategy), (self.model.still, self.still_strategy)]
        return [(gaussians, strategy) for gaussians, strategy in both if len(gaussians)]

    def _depth_losses(self, batch: ViewBatch, out: ModgsView, step: int) -> dict[str, Float[Tensor, "..."]]:
        """`order` and `depth`, where the frame's depth is known and something is drawn."""
        size = (batch.rgb.shape[0], batch.rgb.shape[1])
        known = F.interpolate(self.depths[batch.view][None, None], size, mode="nearest")[0, 0].to(out.depth)
        valid = (known > 0) & out.seen & batch.supervised
        if int(valid.sum()) < 2:
            return {}
        relative = (out.depth[valid] - known[valid]).abs() / known[valid]
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 8, step))
        return {"order": self._order(out.depth, known, valid, generator), "depth": relative}

    def _order(
        self,
        depth: Float[Tensor, "h w"],
        known: Float[Tensor, "h w"],
        valid: Bool[Tensor, "h w"],
        generator: torch.Generator,
    ) -> Float[Tensor, "..."]:
        kind = self.config.depth_order
        if kind == "pearson":
            return ordinal_depth.pearson(depth[valid], known[valid])
        if kind == "pearson-either":
            return ordinal_depth.pearson_either(depth[valid], known[valid])
        pairs = ordinal_depth.random_pairs(valid, self.config.depth_pairs, generator)
        spread = ordinal_depth.depth_range(known, valid)
        if kind == "ranking":
            return ordinal_depth.ranking(depth, known, pairs, ordinal_depth.RANKING_SHARE * spread)
        wrong = ordinal_depth.tanh_order(depth, known, pairs, ordinal_depth.TANH_SHARE * spread)
        return wrong if len(wrong) else depth.new_zeros(1)


def _plain(factor: LogLinear) -> Callable[[int], float]:
    """A plain function, which stays out of the checkpoint: the schedule belongs to the config."""
    return lambda step: factor(step)


def _strategy(config: ModgsConfig, gaussians: Gaussians, share: float) -> Strategy:
    if config.strategy == "densify":
        most = max(1, round(share * config.densify.max_gaussians))
        return Densification(replace(config.densify, max_gaussians=most), len(gaussians), EXTENT)
    return Relocation(replace(config.relocation, max_gaussians=max(1, round(share * config.relocation.max_gaussians))))


@torch.no_grad()
def _canonical_cloud(config: ModgsConfig, model: ModgsModel, seen: SeenPoints) -> GaussianCloud:
    """Points of all frames in the canonical space, as wide apart as they are in the middle of the clip."""
    if not len(seen.xyz):
        return GaussianCloud.empty(config.sh_degree)
    canonical = torch.empty_like(seen.xyz)
    for time in seen.times.unique().tolist():
        now = seen.times == time
        canonical[now] = model.to_canonical(seen.xyz[now], time)
    middle = float(seen.times.median())
    scales = neighbour_distance(model.to_time(canonical, middle))
    return GaussianCloud.from_points(canonical, seen.rgb, scales, config.sh_degree, config.cloud.opacity)


def _cloud(config: ModgsConfig, seen: SeenPoints) -> GaussianCloud:
    if not len(seen.xyz):
        return GaussianCloud.empty(config.sh_degree)
    scales = neighbour_distance(seen.xyz)
    return GaussianCloud.from_points(seen.xyz, seen.rgb, scales, config.sh_degree, config.cloud.opacity)
