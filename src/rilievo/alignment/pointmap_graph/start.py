"""A first state without optimisation: photos are placed one by one along a maximum spanning tree (DUSt3R, §3.4).

The strongest edge gives the first two photos their points. Every further edge of the tree is moved onto the photo that
it shares with those before, by the weighted similarity between its pointmap and the points already there, and so places
the other. A photo that is the first of such an edge is thereby posed; the others by PnP of their own points. Then every
edge, in the tree or not, is registered to the points of its first photo. (The published code takes the focal length of
a photo from the edge treated before it, which is another photo's; here it is the photo's own, from its strongest edge.)
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.alignment.focal import focal_from_pointmap
from rilievo.alignment.pointmap_graph.graph import MIN_POINTS, PointmapGraph
from rilievo.alignment.pointmap_graph.known import KnownViews
from rilievo.alignment.pointmap_graph.pose_alignment import align_multiple_poses
from rilievo.alignment.pointmap_graph.spanning import spanning_edges
from rilievo.alignment.pointmap_graph.state import MEAN_SCALE, Start
from rilievo.errors import UserError, clear
from rilievo.geometry import se3, sim3
from rilievo.geometry.pnp import solve_pnp

CONFIDENT = 3.0
"""Pixels above this confidence pose a photo, where there are enough of them."""
PNP_ITERATIONS = 10


def start_from_tree(graph: PointmapGraph, known: KnownViews | None = None, *, confident: float = CONFIDENT) -> Start:
    """The first state, in the frame of the known poses where there are any, else of the strongest edge's first photo.

    Raises `UserError` where the points of a photo do not allow a pose.
    """
    known = KnownViews() if known is None else known
    known.check(graph.n_views)
    centers, focals = start_centers(graph, known), start_focals(graph, known)
    world, poses = _place(graph, spanning_edges(graph.edges, graph.strengths))
    for v in range(graph.n_views):
        if v not in poses:
            poses[v] = _pose_by_points(graph, v, world[v], float(focals[v]), centers[v], confident)
    placed = torch.stack([poses[v] for v in range(graph.n_views)])
    to_known = _to_known(placed, known)
    placed, world = _moved(placed, to_known), [sim3.apply(to_known, points.mT).mT for points in world]
    world_from_edge = register_edges(graph, world)
    if not known.fixes_scale:
        resize = _resizing(world_from_edge, placed, known)
        placed, world = _moved(placed, resize), [sim3.apply(resize, points.mT).mT for points in world]
        world_from_edge = resize @ world_from_edge
    for v, pose in known.world_from_cam.items():
        placed[v] = pose.to(placed)
    depth = torch.stack(
        [(se3.inverse(pose)[2:3, :3] @ X)[0] + se3.inverse(pose)[2, 3] for pose, X in zip(placed, world)]
    )
    return Start(placed, focals, centers, depth, world_from_edge)


def start_focals(graph: PointmapGraph, known: KnownViews) -> Float[Tensor, "views"]:
    """The known focal lengths, or else what the strongest edge that a photo is the first of says of it.

    A photo that is the second of every edge starts at the median of the others.
    """
    centers, strengths = start_centers(graph, known), graph.strengths
    focals = torch.full((graph.n_views,), torch.nan, dtype=torch.float64)
    for e in strengths.argsort(descending=True, stable=True).tolist():
        v = int(graph.edges[e, 0])
        if focals[v].isnan() and strengths[e] > 0:
            votes = graph.image(v, graph.votes[2 * e])
            focals[v] = focal_from_pointmap(graph.points(2 * e), (votes > 0).to(votes), centers[v])
    focals[~(focals > 0)] = focals[focals > 0].median()
    for v, focal in known.focals_px.items():
        focals[v] = focal
    return focals.to(graph.X.device)


def start_centers(graph: PointmapGraph, known: KnownViews) -> Float[Tensor, "views 2"]:
    """The known principal points, else those that the networks assume."""
    centers = graph.centers_px.double()
    for v, center in known.centers_px.items():
        centers[v] = center.to(centers)
    return centers


def confident_pixels(votes: Float[Tensor, "pixels"], confident: float) -> Bool[Tensor, "pixels"]:
    """Votes above `confident`, or all that there are where those would not do for a pose."""
    sure = votes > confident
    return sure if int(sure.sum()) >= MIN_POINTS else votes > 0


def register(
    source: Float[Tensor, "3 pixels"], target: Float[Tensor, "3 pixels"], votes: Float[Tensor, "pixels"]
) -> Float[Tensor, "4 4"]:
    """target_from_source by votes; points without a vote are left out, whatever they are."""
    used = votes > 0
    return sim3.similarity_from_points(source[:, used].mT.double(), target[:, used].mT.double(), votes[used].double())


def _place(graph: PointmapGraph, tree: list[int]) -> tuple[list[Tensor], dict[int, Tensor]]:
    """Points of all views [3, pixels] in the frame of the first edge, and the poses that the tree itself gives."""
    X, votes = graph.X.double(), graph.votes
    i, j = graph.edges[tree[0]].tolist()
    points = {i: X[2 * tree[0]], j: X[2 * tree[0] + 1]}
    poses = {i: torch.eye(4, dtype=X.dtype, device=X.device)}
    for e in tree[1:]:
        i, j = graph.edges[e].tolist()
        here, there = (2 * e, 2 * e + 1) if i in points else (2 * e + 1, 2 * e)
        S = register(X[here], points[i if i in points else j], votes[here])
        points[j if i in points else i] = sim3.apply(S, X[there].mT).mT
        if i not in poses:
            poses[i] = _rigid(S)
    return [points[v] for v in range(graph.n_views)], poses


def _pose_by_points(
    graph: PointmapGraph, v: int, points: Tensor, focal: float, center: Tensor, confident: float
) -> Tensor:
    used = confident_pixels(graph.confidence[v], confident)
    found = solve_pnp(points[:, used].mT, graph.pixels[v][:, used].mT, focal, center, iterations=PNP_ITERATIONS)
    if found is None:
        raise clear(
            f"pose of photo {v}",
            expected=f"at least {MIN_POINTS} points that agree on one",
            got=f"{int(used.sum())} points that do not",
            do="give a mask that shows more of the object, or leave the photo out",
        )
    return found.world_from_cam.to(points)


def _to_known(placed: Tensor, known: KnownViews) -> Tensor:
    if not known.world_from_cam:
        return torch.eye(4, dtype=placed.dtype, device=placed.device)
    views = sorted(known.world_from_cam)
    targets = known.poses(placed).to(placed)
    if known.fixes_scale:
        return align_multiple_poses(placed[views], targets)
    return align_multiple_poses(placed[views[:1]], targets[:1])


def register_edges(graph: PointmapGraph, world: list[Tensor]) -> Float[Tensor, "edges 4 4"]:
    """world_from_edge of every edge by its first photo, or its second where the first has too few votes.

    An edge with too few votes in both has no say in the loss worth speaking of, and starts at the others' mean scale.
    """
    found: list[Tensor | None] = [_register_edge(graph, e, world) for e in range(len(graph.edges))]
    scales = torch.stack([sim3.split(S)[0] for S in found if S is not None])
    spare = sim3.compose(scales.log().mean().exp(), torch.eye(3).to(scales), torch.zeros(3).to(scales))
    return torch.stack([spare if S is None else S for S in found])


def _register_edge(graph: PointmapGraph, e: int, world: list[Tensor]) -> Tensor | None:
    for end in (0, 1):
        votes = torch.where(graph.confidence[graph.edges[e, end]] > 0, graph.votes[2 * e + end], 0)
        if int((votes > 0).sum()) < MIN_POINTS:
            continue
        try:
            return register(graph.X[2 * e + end], world[int(graph.edges[e, end])], votes)
        except UserError:  # all on one line
            continue
    return None


def _resizing(world_from_edge: Tensor, placed: Tensor, known: KnownViews) -> Tensor:
    """The scaling about the known camera (or the origin) that gives edges their mean scale."""
    k = MEAN_SCALE / sim3.split(world_from_edge)[0].log().mean().exp()
    about = placed[min(known.world_from_cam), :3, 3] if known.world_from_cam else torch.zeros(3).to(placed)
    return sim3.compose(k, torch.eye(3).to(placed), (1 - k) * about)


def _moved(poses: Tensor, S: Tensor) -> Tensor:
    """Poses in another frame: a similarity moves them without giving them a scale."""
    scale = sim3.split(S)[0]
    moved = S @ poses
    return torch.cat((torch.cat((moved[:, :3, :3] / scale, moved[:, :3, 3:]), -1), moved[:, 3:]), -2)


def _rigid(S: Tensor) -> Tensor:
    _, R, t = sim3.split(S)
    return se3.compose(R, t)
