"""The second stage: Gaussians and motion together, from pictures (MoDGS, section 3.3).

Moving and still Gaussians each follow their own strategy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo import losses
from rilievo.data.scene import Scene
from rilievo.engine.gaussian_module import GaussianModule
from rilievo.engine.ray_sampler import step_seed
from rilievo.engine.view_sampler import ViewBatch, ViewSampler
from rilievo.fields.motion import InvertibleMotion
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.rows import Gaussians
from rilievo.gaussians.spacing import neighbour_distance
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

    def __init__(self, config: ModgsConfig, scene: Scene, motion: InvertibleMotion, start: Start) -> None:
        sampler = ViewSampler(scene, random_background=config.background_color == "random", seed=config.fit.seed)
        model = ModgsModel(config, scene, motion, start.box)
        model.gaussians = Gaussians(_canonical_cloud(config, model, start.moving))
        model.still = Gaussians(_cloud(config, start.still))
        super().__init__(model, sampler, config, EXTENT)
        self.depths = dict(zip(training_order(scene), start.depths))
        self.pairs = start.pairs
        self.draw = PairDraw(start.pairs, len(start.depths)) if start.pairs else None

    def other_rates(self) -> dict[str, float]:
        settings, motion = self.config.motion, self.model.motion
        if not len(self.model.gaussians):
            return {}
        space_rate = settings.joint_space * settings.space_rate
        rates = {"time": settings.joint_time * settings.time_rate, "layers": space_rate}
        if motion.affine is not None:
            rates["affine"] = space_rate
        return {f"model.motion.{part}": rate for part, rate in rates.items()}

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
        parts = [gaussians.cloud for gaussians in self.model.clouds().values() if len(gaussians)]
        if self.weight("opacity", step) and parts:
            values["opacity"] = torch.cat([cloud.opacities for cloud in parts])
        if self.weight("scale", step) and parts:
            values["scale"] = torch.cat([cloud.scales for cloud in parts]) / self.extent
        return values

    def numbers(self) -> dict[str, float]:
        return super().numbers() | {"train/moving": float(len(self.model.gaussians))}

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
