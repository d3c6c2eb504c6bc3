"""Monocular depth of a clip, brought to the scale of its cameras, and what moves in front of them.

Static flow triangulates depth; each frame's estimate m is mapped to it by a m^p + b (`motion.depth_alignment`), and by
a factor that varies slowly over the picture: the ratio of triangulated to mapped depth, spread by a Gaussian of a tenth
of the width to where nothing was triangulated. A frame of which too little is triangulated is mapped to the depth of
frames that are done, brought there by flow. A camera that hardly moves triangulates nothing: then the middle frame's
estimate, at the distance of the region's centre, is the first that is done.

What moves is where flow leaves the flow that the cameras' own motion would cause at the aligned depth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.flow.sampling import index_grid
from rilievo.motion.depth_alignment import POWERS, fit_depth_map
from rilievo.motion.lift import point_map, targets
from rilievo.motion.triangulate import triangulated_depth

from .clip import Clip
from .pairs import FlowPairs

PARTNERS = 4
"""Frames, the farthest cameras first, that a frame is triangulated with; their median counts."""
FIT_PIXELS = 2000
"""So many of the triangulated pixels are fitted to, evenly taken."""
SPREAD = 0.1
"""Standard deviation of the spread of the factor, in widths."""
FACTOR = 1.15
"""The factor and its inverse stay below; a pixel that asks for more was matched wrongly."""
LEAST_SEEN = 0.02
"""Weight of the factor 1 beside that of the pixels around."""
FIXED = 1e-3
"""Cameras closer together than this, in distances from the region's centre, triangulate nothing."""
ENOUGH = 300
"""Triangulated pixels that a frame is mapped to."""
NEAREST = 1e-3
"""Least distance of a camera from the region's centre that depth gets its scale from where nothing is triangulated."""
LEAVES_PX, LEAVES_SHARE = 1.5, 0.25
"""Flow leaves the cameras' own when it misses by this many pixels and by this share of its length."""
OFTEN = 0.4
"""In this share of a pixel's believed pairs."""
EDGE = 1.12
"""Ratio of the largest to the smallest depth in 3x3 pixels from which they straddle an edge."""


def aligned_depths(clip: Clip, flows: FlowPairs, still: Bool[Tensor, "t h w"]) -> Float[Tensor, "t h w"]:
    """Depth of every frame along camera z, in the units of the cameras; 0 where unknown. `still` may move if unknown.

    Raises `UserError` where the estimates of a frame cannot be aligned.
    """
    done = {}
    if _baseline(clip) > FIXED:
        for i, estimate in enumerate(clip.estimates):
            known = _triangulated(clip, flows, i, still[i])
            if int(((known > 0) & (estimate > 0)).sum()) >= ENOUGH:
                done[i] = _aligned(estimate, known)
    if not done:
        middle = len(clip) // 2
        done[middle] = _at_region(clip, middle)
    while left := [i for i in range(len(clip)) if i not in done]:
        i = min(left, key=lambda i: min(abs(i - j) for j in done))
        sources = sorted({j for j in (i - 1, i + 1, *flows.partners(i)) if j in done})
        brought = _median([_brought(clip, flows, i, j, done[j], still[i]) for j in sources])
        done[i] = _aligned(clip.estimates[i], brought)
    return torch.stack([done[i] for i in range(len(clip))])


def moving_pixels(clip: Clip, flows: FlowPairs, depths: Float[Tensor, "t h w"]) -> Bool[Tensor, "t h w"]:
    """Pixels whose flow is not the cameras' doing, freed of specks by a majority of 5x5 pixels."""
    votes, judged = torch.zeros_like(depths), torch.zeros_like(depths)
    for i in range(len(clip)):
        points = point_map(depths[i], clip.cameras.K[i], clip.cameras.world_from_cam[i])
        begin = index_grid(depths.shape[1], depths.shape[2], depths) + 0.5
        for j in flows.partners(i):
            flow = flows.flow(i, j)
            end, _ = clip.cameras.project(j, points.xyz.reshape(-1, 3))
            miss = (begin + flow - end.view_as(flow)).norm(dim=-1)
            counts = flows.believed(i, j) & points.known & miss.isfinite()
            votes[i] += counts & (miss > torch.clamp(LEAVES_SHARE * flow.norm(dim=-1), min=LEAVES_PX))
            judged[i] += counts
    often = (votes > OFTEN * judged.clamp_min(1)).float()
    return F.avg_pool2d(often[:, None], 5, 1, 2)[:, 0] > 0.5


def edges(depths: Float[Tensor, "t h w"]) -> Bool[Tensor, "t h w"]:
    """Pixels beside a jump of depth, or beside unknown depth: what is read there lies on neither surface."""
    largest = F.max_pool2d(depths[:, None], 3, 1, 1)[:, 0]
    smallest = -F.max_pool2d(-depths[:, None], 3, 1, 1)[:, 0]
    return (smallest <= 0) | (largest > EDGE * smallest)


def _baseline(clip: Clip) -> float:
    """How far cameras stand from their mean, in distances from there to the region's centre."""
    centers = clip.cameras.centers
    middle = centers.mean(0)
    return float((centers - middle).norm(dim=1).max() / middle.norm().clamp_min(NEAREST))


def _triangulated(clip: Clip, flows: FlowPairs, i: int, still: Bool[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Median triangulated depth of frame i, 0 where there is none."""
    away = (clip.cameras.centers - clip.cameras.centers[i]).norm(dim=1)
    partners = sorted(flows.partners(i), key=lambda j: -float(away[j]))[:PARTNERS]
    found = []
    for j in partners:
        depth, trusted = triangulated_depth(clip.cameras, i, j, flows.flow(i, j), flows.believed(i, j) & still)
        found.append(torch.where(trusted, depth, torch.nan))
    return _median(found)


def _brought(
    clip: Clip, flows: FlowPairs, i: int, j: int, depth: Float[Tensor, "h w"], still: Bool[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """Depth of still pixels of frame i from the aligned depth of frame j, NaN where there is none."""
    points = point_map(depth, clip.cameras.K[j], clip.cameras.world_from_cam[j])
    led = targets(points, flows.flow(i, j), flows.believed(i, j) & still)
    along = (led.xyz.double() - clip.cameras.centers[i]) @ clip.cameras.forwards[i]
    return torch.where(led.valid & (along > 0), along, torch.nan).to(depth)


def _median(depths: list[Float[Tensor, "h w"]]) -> Float[Tensor, "h w"]:
    """Of what is known (not NaN) of each pixel; 0 where nothing is."""
    return torch.stack(depths).nanmedian(0).values.nan_to_num(0)


def _at_region(clip: Clip, i: int) -> Float[Tensor, "h w"]:
    """The estimate of frame i, its median as far away as the region's centre."""
    estimate = clip.estimates[i]
    distance = clip.cameras.centers[i].norm().clamp_min(NEAREST)
    return estimate * (distance.to(estimate) / estimate[estimate > 0].median())


def _aligned(estimate: Float[Tensor, "h w"], known: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """An estimate mapped to depth that is known here and there (0 elsewhere)."""
    both = (estimate > 0) & (known > 0)
    every = max(1, int(both.sum()) // FIT_PIXELS)
    depth = fit_depth_map(estimate[both][::every], known[both][::every], POWERS[::2])(estimate)
    ratio = known / depth.clamp_min(torch.finfo(depth.dtype).tiny)
    sound = both & (depth > 0) & (ratio < FACTOR) & (ratio > 1 / FACTOR)
    weight = sound.to(depth)
    excess, seen = _spread(torch.stack((torch.where(sound, ratio - 1, 0), weight)), SPREAD * depth.shape[1])
    return depth * (1 + excess / (seen + LEAST_SEEN))


def _spread(planes: Float[Tensor, "c h w"], sigma_px: float) -> Float[Tensor, "c h w"]:
    """Blurred by a Gaussian that is cut off at three deviations; nothing lies outside the picture."""
    reach = max(1, round(3 * sigma_px))
    x = torch.arange(-reach, reach + 1).to(planes)
    kernel = torch.exp(-0.5 * (x / sigma_px) ** 2)
    kernel = kernel / kernel.sum()
    across = F.conv2d(planes[:, None], kernel.view(1, 1, 1, -1), padding=(0, reach))
    return F.conv2d(across, kernel.view(1, 1, -1, 1), padding=(reach, 0))[:, 0]
