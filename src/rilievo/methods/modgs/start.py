"""From a clip to what the first stage trains on and the Gaussians start from.

Depth is aligned, what moves is told from what stands still, and pixels of moving things become points; believed flow
leads them to points of other frames (`motion.lift`). All points of a pair are thinned to a number; its box is that of
all that moves. Where nothing is told apart, everything counts as moving.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.data.scene import Scene
from rilievo.engine.ray_sampler import step_seed
from rilievo.errors import clear
from rilievo.flow.sampling import carried
from rilievo.motion.lift import PointMap, point_map, targets
from rilievo.motion.objective import Correspondences
from rilievo.motion.pair_table import UnitBox

from .clip import Clip, read_clip
from .config import ModgsConfig
from .depths import aligned_depths, edges, moving_pixels
from .pairs import FlowPairs

LEAST_POINTS = 60
"""A pair with fewer points says nothing."""
BOX_SHARE = 0.005
"""Points beyond this quantile, on either side, do not stretch the box."""


@dataclass(frozen=True)
class SeenPoints:
    """Points of pixels, with their colours and when they were seen."""

    xyz: Float[Tensor, "n 3"]
    rgb: Float[Tensor, "n 3"]
    times: Float[Tensor, "n"]


@dataclass(frozen=True)
class Start:
    """All that is prepared."""

    depths: Float[Tensor, "t h w"]
    """Aligned, in world units; 0 where unknown."""
    box: UnitBox
    """What the motion's coordinates are measured in."""
    pairs: dict[tuple[int, int], Correspondences]
    """Moving points, in the box, by frame of origin and of destination."""
    moving: SeenPoints
    still: SeenPoints


def prepare(config: ModgsConfig, scene: Scene) -> Start:
    """Look at a normalised scene. Raises `UserError` as `read_clip`, `aligned_depths` and flow providers do."""
    generator = torch.Generator().manual_seed(step_seed(config.fit.seed + 4, 0))
    clip = read_clip(scene, config.clip.depth)
    require_still(clip)
    flows = FlowPairs(clip, config.clip)
    known_moving = torch.zeros_like(clip.shown) if clip.moving is None else clip.moving
    depths = aligned_depths(clip, flows, clip.shown & ~known_moving)
    moving = clip.moving
    if moving is None and config.clip.split:
        moving = moving_pixels(clip, flows, depths)
        depths = aligned_depths(clip, flows, clip.shown & ~moving)
    if moving is None or not config.clip.split:
        moving = torch.ones_like(clip.shown)
    sound = clip.shown & ~edges(depths)
    maps = [
        point_map(depth, clip.cameras.K[i], clip.cameras.world_from_cam[i]) for i, depth in enumerate(depths.unbind())
    ]
    box = _box(maps, moving & sound)
    return Start(
        depths=depths,
        box=box,
        pairs=_pairs(config, clip, flows, maps, moving & sound, box, generator),
        moving=_seen(clip, maps, moving & sound, config.cloud.moving, generator),
        still=_seen(clip, maps, ~moving & sound, config.cloud.still, generator),
    )


def require_still(clip: Clip) -> None:
    """Raises `UserError` for a frame of which masks leave nothing that stands still."""
    for i, stem in enumerate(clip.stems):
        if not bool(clip.shown[i].any()):
            raise clear(
                f"frame {stem}",
                expected="pixels that its mask lets count",
                got="a mask that covers all of it",
                do="check the mask or its meaning with --mask-meaning, or leave the frame out of the capture",
            )
        if clip.moving is not None and not bool((clip.shown[i] & ~clip.moving[i]).any()):
            raise clear(
                f"frame {stem}",
                expected="pixels that stand still, by which its depth is brought to the scale of the cameras",
                got="a mask that marks all of it as moving",
                do="mark what moves alone, or leave the masks out",
            )


def _box(maps: list[PointMap], used: Bool[Tensor, "t h w"]) -> UnitBox:
    """The box of moving points but for stray ones; the region's where nothing moves."""
    points = torch.cat([each.xyz[mask] for each, mask in zip(maps, used)])
    if len(points) < LEAST_POINTS:
        return UnitBox(torch.zeros(3), 1.0)
    ordered = points.sort(dim=0).values
    stray = int(BOX_SHARE * len(points))
    return UnitBox.around(ordered[[stray, len(points) - 1 - stray]])


def _pairs(
    config: ModgsConfig,
    clip: Clip,
    flows: FlowPairs,
    maps: list[PointMap],
    used: Bool[Tensor, "t h w"],
    box: UnitBox,
    generator: torch.Generator,
) -> dict[tuple[int, int], Correspondences]:
    """Where flow is believed and leads from what moves to what moves."""
    found = {}
    for i, j in flows.pairs:
        flow = flows.flow(i, j)
        arrives = carried(used[j][..., None].to(flow), flow)[..., 0] > 0.99
        led = targets(maps[j], flow, flows.believed(i, j) & used[i] & arrives)
        chosen = led.valid.flatten().nonzero()[:, 0]
        chosen = chosen[torch.randperm(len(chosen), generator=generator)[: config.motion.kept]]
        source = box.inside(maps[i].xyz.reshape(-1, 3)[chosen])
        target = box.inside(led.xyz.reshape(-1, 3)[chosen])
        inside = ((source.abs() <= 1.5) & (target.abs() <= 1.5)).all(1)
        source, target = source[inside], target[inside]
        if len(source) >= max(LEAST_POINTS, config.motion.neighbors + 1):
            found[i, j] = Correspondences(source, target, float(clip.times[i]), float(clip.times[j]))
    return found


def _seen(
    clip: Clip, maps: list[PointMap], used: Bool[Tensor, "t h w"], count: int, generator: torch.Generator
) -> SeenPoints:
    """About `count` of the used pixels, from all frames alike."""
    frame, row, column = used.nonzero(as_tuple=True)
    chosen = torch.randperm(len(frame), generator=generator)[:count].sort().values
    frame, row, column = frame[chosen], row[chosen], column[chosen]
    xyz = torch.stack([each.xyz for each in maps])[frame, row, column]
    return SeenPoints(xyz, clip.photos[frame, row, column].float() / 255, clip.times[frame])
