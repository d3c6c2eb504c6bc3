"""Photos that belong together, aligned by either aligner, with what is known of their cameras.

Both answers are brought to one form: cameras of the pictures that the network saw, and depth, points and confidence of
every pixel of them. Pixel centres are at +0.5. A network sees pinholes, so a known lens must be one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.alignment.cleaning import clean_pointcloud
from rilievo.alignment.config import SparseConfig, turntable
from rilievo.alignment.known import KnownView
from rilievo.alignment.pointmap_graph.align import PointmapGraphConfig, align_pointmaps
from rilievo.alignment.pointmap_graph.known import KnownViews
from rilievo.alignment.pointmap_graph.two_views import align_two_views
from rilievo.alignment.solve import Progress
from rilievo.alignment.sparse import align_sparse
from rilievo.errors import UserError, clear
from rilievo.geometry import se3
from rilievo.matching.pair_result import PairPrediction
from rilievo.pipelines.network_photos import NetworkPhoto, masks_of
from rilievo.pipelines.pair_results import StoredPairs
from rilievo.sfm.align import Known
from rilievo.sfm.lens import Belief, matrix_of

SPARSE_CONFIDENCE = 1.5
"""Published least confidence of points after sparse alignment."""


@dataclass(frozen=True)
class PointmapViews:
    """n aligned pictures."""

    K: Float64[Tensor, "n 3 3"]
    """In px of the network's pictures."""
    world_from_cam: Float64[Tensor, "n 4 4"]
    depth: Sequence[Float[Tensor, "_h _w"]]
    """Along camera z."""
    points: Sequence[Float[Tensor, "_h _w 3"]]
    confidence: Sequence[Float[Tensor, "_h _w"]]
    """Cleaned; 0 outside the masks."""
    least_confidence: float
    """Pixels that are surer than this are worth showing."""

    def __post_init__(self) -> None:
        if not (bool(self.K.isfinite().all()) and bool(self.world_from_cam.isfinite().all())):
            raise clear(
                "alignment",
                expected="predictions that determine the cameras",
                got="cameras that are not finite numbers",
                do="check that the weights belong to the network, or use --method sfm",
            )


def sparse_config(photos: Sequence[NetworkPhoto], base: SparseConfig, *, on_turntable: bool) -> SparseConfig:
    """`base` with one focal length for photos of one lens; a turntable's camera is one."""
    one_lens = len({(photo.photo.lens, photo.prepared.framing) for photo in photos}) == 1
    if not on_turntable:
        return replace(base, shared_intrinsics=base.shared_intrinsics or one_lens)
    if not one_lens:
        raise clear("--turntable", expected="photos of one size and lens", got="several", do="leave the others out")
    kept = turntable()
    return replace(
        base,
        shared_intrinsics=kept.shared_intrinsics,
        optimise_principal_point=kept.optimise_principal_point,
        focal_trust=kept.focal_trust,
    )


def align_by_matches(
    photos: Sequence[NetworkPhoto],
    pairs: StoredPairs,
    config: SparseConfig,
    known: Known,
    progress: Progress | None = None,
) -> PointmapViews:
    """MASt3R's sparse alignment. Raises `UserError` as `align_sparse`, and for a known lens that is no pinhole."""
    sizes = [photo.size_hw for photo in photos]
    aligned = align_sparse(pairs, sizes, config, masks_of(photos), _known_views(photos, known), progress)
    dense = aligned.dense()
    return PointmapViews(
        aligned.K.double(),
        aligned.world_from_cam.double(),
        [view.depth for view in dense],
        [view.points for view in dense],
        [view.confidence for view in dense],
        SPARSE_CONFIDENCE,
    )


def align_by_pointmaps(
    photos: Sequence[NetworkPhoto],
    pairs: StoredPairs,
    config: PointmapGraphConfig,
    known: Known,
    progress: Progress | None = None,
) -> PointmapViews:
    """DUSt3R's alignment; all predictions are in memory. Two photos are placed as its pair viewer does, without steps.

    Raises `UserError` as `align_pointmaps` and `align_two_views`, and as above.
    """
    facts = _known_views(photos, known)
    cameras = KnownViews(
        {v: fact.world_from_cam for v, fact in facts.items() if fact.world_from_cam is not None},
        {v: float(fact.K[0, 0] + fact.K[1, 1]) / 2 for v, fact in facts.items() if fact.K is not None},
        {v: fact.K[:2, 2] for v, fact in facts.items() if fact.K is not None},
    )
    if len(photos) == 2 and not cameras.world_from_cam:
        pair = pairs[0, 1]
        aligned = align_two_views(
            pair.ij, pair.ji, masks=masks_of(photos), known=cameras, worth=config.worth, confident=config.confident
        )
    else:
        edges: list[tuple[int, int]] = []
        predictions: list[PairPrediction] = []
        for (i, j), result in pairs.items():
            edges += [(i, j), (j, i)]
            predictions += [result.ij, result.ji]
        aligned = align_pointmaps(
            edges,
            predictions,
            masks=masks_of(photos),
            known=cameras,
            config=config,
            progress=None if progress is None else lambda done, loss: progress("pointmaps", done, config.steps, loss),
        )
    poses, K = aligned.world_from_cam, aligned.K
    confidence = clean_pointcloud(aligned.confidence, K, poses, aligned.depth, aligned.points)
    return PointmapViews(K, poses, aligned.depth, aligned.points, confidence, config.confident)


def pinhole_of(lens: Belief | None) -> Float64[np.ndarray, "3 3"] | None:
    """K of a known lens, in px of the photos. Raises `UserError` where it distorts."""
    if lens is None:
        return None
    if lens.mean[4:].any():
        raise UserError(
            "--intrinsics: expected a lens without distortion, since networks see pinholes, got distortion "
            "coefficients; undistort the photos first, or use --method sfm"
        )
    return matrix_of(lens.mean)


def _known_views(photos: Sequence[NetworkPhoto], known: Known) -> dict[int, KnownView]:
    """What is known, by the place of its photo and in px of its picture."""
    in_photo, cam_from_world = pinhole_of(known.lens), known.cam_from_world
    if in_photo is None and cam_from_world is None:
        return {}
    facts = {}
    for v, photo in enumerate(photos):
        K = pose = None
        if in_photo is not None:
            K = (torch.linalg.inv(photo.prepared.photo_from_input) @ torch.from_numpy(in_photo)).float()
        if cam_from_world is not None:
            pose = se3.inverse(torch.from_numpy(cam_from_world[photo.photo.name])).float()
        facts[v] = KnownView(K, pose)
    return facts
