"""A single pair of photos, without optimisation: DUSt3R's pair viewer.

Of both orders, the more confident gives points, in the frame of its first photo. Each photo's focal length comes from
its own pointmap, and the pose of the second from PnP of its points in the first photo's frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from rilievo.alignment.pointmap_graph.align import AlignedPointmaps
from rilievo.alignment.pointmap_graph.confidence import Worth
from rilievo.alignment.pointmap_graph.graph import PointmapGraph
from rilievo.alignment.pointmap_graph.known import KnownViews
from rilievo.alignment.pointmap_graph.start import (
    CONFIDENT,
    confident_pixels,
    register_edges,
    start_centers,
    start_focals,
)
from rilievo.errors import clear
from rilievo.geometry import se3, sim3
from rilievo.geometry.pnp import pinhole, solve_pnp
from rilievo.matching.pair_result import PairPrediction

PNP_ITERATIONS = 100


def align_two_views(
    forth: PairPrediction,
    back: PairPrediction,
    *,
    masks: Sequence[Bool[Tensor, "_h _w"]] | None = None,
    known: KnownViews | None = None,
    worth: Worth = "log",
    confident: float = CONFIDENT,
) -> AlignedPointmaps:
    """Cameras, depths and points of photos 0 and 1 from the predictions of (0, 1) and (1, 0).

    The world is the frame of the first photo of the more confident prediction, in that prediction's unit. Of `known`,
    focal lengths and principal points are used; poses are not. Raises `UserError` where no pose is found (the published
    code then returns the identity).
    """
    known = KnownViews() if known is None else known
    known.check(2)
    graph = PointmapGraph.of([(0, 1), (1, 0)], [forth, back], masks, worth)
    focals, centers = start_focals(graph, known), start_centers(graph, known)
    e = int(graph.strengths.argmax())
    first, second = graph.edges[e].tolist()
    used = confident_pixels(graph.confidence[second], confident) & (graph.votes[2 * e + 1] > 0)
    seen, pixels = graph.X[2 * e + 1][:, used].mT, graph.pixels[second][:, used].mT
    found = solve_pnp(seen, pixels, float(focals[second]), centers[second], iterations=PNP_ITERATIONS)
    if found is None:
        raise clear(
            "pair of photos",
            expected="points of the second that agree on a pose",
            got=f"{int(used.sum())} points that do not",
            do="choose photos that overlap more, or masks that show more of the object",
        )
    pair = (forth, back)[e]
    points = [pair.X_1, pair.X_2] if first == 0 else [pair.X_2, pair.X_1]
    poses = torch.eye(4, dtype=torch.float64, device=points[0].device).repeat(2, 1, 1)
    poses[second] = found.world_from_cam.to(poses)
    K = torch.stack([pinhole(float(f), c) for f, c in zip(focals, centers)]).to(poses.device)
    depth = [sim3.apply(se3.inverse(pose).to(X), X)[..., 2] for pose, X in zip(poses, points)]
    confidence = [graph.image(v, graph.confidence[v]) for v in (0, 1)]
    return AlignedPointmaps(
        poses,
        K,
        depth,
        [_unprojected(graph, v, depth[v], K[v], poses[v]) for v in (0, 1)],
        confidence,
        [C.gt(confident) for C in confidence],
        register_edges(graph, [X.flatten(0, 1).mT.double() for X in points]),
    )


def _unprojected(graph: PointmapGraph, v: int, depth: Tensor, K: Tensor, world_from_cam: Tensor) -> Tensor:
    """World points on the pixels' own rays, at their depth."""
    pixels = graph.image(v, graph.pixels[v]).movedim(0, -1)
    rays = torch.cat(((pixels - K[:2, 2].to(pixels)) / K[0, 0].to(pixels), torch.ones_like(pixels[..., :1])), dim=-1)
    return sim3.apply(world_from_cam.to(depth), rays * depth[..., None])
