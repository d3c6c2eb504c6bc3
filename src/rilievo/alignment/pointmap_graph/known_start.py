"""A first state when all cameras are known: every edge is laid onto its two cameras.

In an edge's own unit its first photo stands at the origin and its second where PnP of the second pointmap puts it; the
similarity onto the known pair of poses is the edge's. Depths come from each photo's most confident edge.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.alignment.pointmap_graph.graph import PointmapGraph
from rilievo.alignment.pointmap_graph.known import KnownViews
from rilievo.alignment.pointmap_graph.pose_alignment import align_multiple_poses
from rilievo.alignment.pointmap_graph.start import (
    CONFIDENT,
    PNP_ITERATIONS,
    confident_pixels,
    start_centers,
    start_focals,
)
from rilievo.alignment.pointmap_graph.state import Start
from rilievo.errors import UserError
from rilievo.geometry import se3, sim3
from rilievo.geometry.pnp import solve_pnp


def start_from_known(graph: PointmapGraph, known: KnownViews, *, confident: float = CONFIDENT) -> Start:
    """The first state for known poses and focal lengths of all views; the frame and the scale are the poses'."""
    poses = known.poses(graph.X)
    focals, centers = start_focals(graph, known), start_centers(graph, known)
    laid = [_lay(graph, e, poses, focals, centers, confident) for e in range(len(graph.edges))]
    scales = torch.stack([sim3.split(S)[0] for S in laid if S is not None] or [torch.ones_like(focals[0])])
    usual = scales.log().mean().exp()
    world_from_edge = torch.stack(
        [_at(poses[graph.edges[e, 0]], usual) if S is None else S for e, S in enumerate(laid)]
    )
    return Start(poses, focals, centers, _depths(graph, poses, world_from_edge), world_from_edge)


def _lay(
    graph: PointmapGraph, e: int, poses: Tensor, focals: Tensor, centers: Tensor, confident: float
) -> Float[Tensor, "4 4"] | None:
    """world_from_edge, or None where the second photo has no pose or stands where the first does."""
    j = int(graph.edges[e, 1])
    used = confident_pixels(graph.votes[2 * e + 1], confident)
    pixels = graph.pixels[j][:, used].mT
    found = solve_pnp(graph.X[2 * e + 1][:, used].mT, pixels, float(focals[j]), centers[j], iterations=PNP_ITERATIONS)
    if found is None:
        return None
    pair = torch.stack((torch.eye(4, dtype=torch.float64), found.world_from_cam)).to(poses)
    try:
        return align_multiple_poses(pair, poses[graph.edges[e]])
    except UserError:
        return None


def _at(pose: Tensor, scale: Tensor) -> Tensor:
    return sim3.compose(scale, pose[:3, :3], pose[:3, 3])


def _depths(graph: PointmapGraph, poses: Tensor, world_from_edge: Tensor) -> Float[Tensor, "views pixels"]:
    """From the edge that is most confident of a photo, as its first where there is one, in the known camera's frame."""
    best = torch.zeros(graph.n_views, dtype=torch.float64)
    depth = torch.ones(graph.n_views, graph.X.shape[-1], dtype=poses.dtype, device=poses.device)
    means = graph.votes.mean(-1).tolist()
    for slot, mean in enumerate(means):
        v, first = int(graph.slot_view[slot]), slot % 2 == 0
        score = mean + (max(means) if first else 0.0)
        if mean > 0 and score > best[v]:
            best[v] = score
            in_cam = se3.inverse(poses[v]) @ world_from_edge[slot // 2]
            depth[v] = (in_cam[2:3, :3] @ graph.X[slot].to(poses))[0] + in_cam[2, 3]
            if first:
                depth[v] = sim3.split(world_from_edge[slot // 2])[0] * graph.X[slot, 2].to(poses)
    return depth
