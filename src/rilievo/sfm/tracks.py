"""Features that were matched through several views become tracks, and tracks become points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from rilievo.sfm.bundle import Structure, Tracks
from rilievo.sfm.features import Matches
from rilievo.sfm.lens import unproject


def join(keypoints: Sequence[Float64[np.ndarray, "_k 2"]], matches: Sequence[Matches]) -> Tracks:
    """Tracks from pairwise matches. A track that meets a view twice holds a wrong match and is left out whole."""
    start = np.concatenate([[0], np.cumsum([len(k) for k in keypoints])]).astype(np.int64)
    first = np.concatenate([start[m.first] + m.features[:, 0] for m in matches])
    second = np.concatenate([start[m.second] + m.features[:, 1] for m in matches])
    total = int(start[-1])
    graph = sparse.coo_matrix((np.ones(len(first)), (first, second)), shape=(total, total))
    label = connected_components(graph, directed=False)[1].astype(np.int64)
    view = np.repeat(np.arange(len(keypoints)), np.diff(start))
    used = np.zeros(total, dtype=bool)
    used[first] = used[second] = True
    twice = np.zeros(int(label.max()) + 1, dtype=bool)
    keys, counts = np.unique(label * len(keypoints) + view, return_counts=True)
    twice[keys[counts > 1] // len(keypoints)] = True
    chosen = np.flatnonzero(used & ~twice[label])
    point: Int64[np.ndarray, "o"] = np.unique(label[chosen], return_inverse=True)[1].astype(np.int64).ravel()
    return Tracks(view[chosen].astype(np.int64), point, np.concatenate(keypoints)[chosen])


def intersect(structure: Structure, tracks: Tracks) -> Float64[np.ndarray, "p 3"]:
    """Each point where the rays of its observations come closest: least squares of the distances to them.

    (Σ 1 - d dᵀ) X = Σ (1 - d dᵀ) C, over rays of direction d from the camera centres C.
    """
    R, t = structure.motion.R[tracks.view], structure.motion.t[tracks.view]
    flat = unproject(tracks.xy, structure.lenses[structure.group[tracks.view]])
    d = np.einsum("oji,oj->oi", R, np.concatenate([flat, np.ones((len(flat), 1))], axis=1))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    across = np.eye(3) - d[:, :, None] * d[:, None, :]
    centers = -np.einsum("oji,oj->oi", R, t)
    count = len(structure.points)
    A, b = np.zeros((count, 3, 3)), np.zeros((count, 3))
    np.add.at(A, tracks.point, across)
    np.add.at(b, tracks.point, np.einsum("oij,oj->oi", across, centers))
    return np.linalg.solve(A + 1e-9 * np.eye(3), b[..., None])[..., 0]
