"""A fixed camera before an object on a turntable: one lens, one axis, one angle per photo.

Motion on a circle hardly tells focal length from tilt and distortion (Fitzgibbon, Cross & Zisserman 1998, "Automatic 3D
model construction for turn-table sequences"), so what is known is used: photos differ by a turn about one axis alone.
With the axis' direction a and its point c nearest to the camera (c ⟂ a, |c| = 1) a turn by φ moves points of the object
as x ↦ R x + t with R = exp(φ a), t = (1 - R) c.

The focal lengths of a scan are tried in turn. For each, pairs of photos vote for a, c and their φ through their
essential matrices; the φ are made consistent; tracks are intersected; and a bundle adjustment over {focal, a, c,
angles, points} follows. The focal length with the smallest robust reprojection error is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.spatial.transform import Rotation

from rilievo.sfm.agreement import explained, share_by_view
from rilievo.sfm.bundle import Adjusted, Structure, Tracks, adjust
from rilievo.sfm.colmap import pycolmap
from rilievo.sfm.features import SEED, Matches
from rilievo.sfm.lens import Belief, LensSpread, matrix_of
from rilievo.sfm.motion import CircleMotion
from rilievo.sfm.tracks import intersect, join

SPREAD = LensSpread(aspect=0.0, center=0.003, k1=0.01, k2=0.0, tangential=0.0)
"""Freer lenses would take up what the angles should explain."""
SCAN = np.geomspace(0.7, 5.0, 9)
"""Focal lengths over the longer side: 71 to 11 degrees of view."""
FEWEST_MATCHES = 12
STILL_PX = 1.0
"""A match that moves less lies on what does not turn."""
LARGEST_ERROR = 0.01
"""Of the longer side: how far a first, rough reconstruction may miss an observation."""
ENOUGH = 0.5
"""The share of what was matched that a circle must explain, of all photos together and of each it places: of a true
one it is above nine tenths, and matches of photos that did not turn about this axis agree with it by chance alone."""


@dataclass(frozen=True)
class Turn:
    """One pair of photos, as its essential matrix has it: rotation vector and direction of translation."""

    first: int
    second: int
    rotation: Float64[np.ndarray, "3"]
    translation: Float64[np.ndarray, "3"]
    weight: float


@dataclass(frozen=True)
class Turned:
    """The circle that was found.

    `guessed` photos matched nothing and stand where equal steps put them; `missed` ones matched what does not fit.
    """

    motion: CircleMotion
    adjusted: Adjusted
    tracks: Tracks
    guessed: tuple[int, ...]
    error_px: float
    """Root of the mean squared error over all tracks, errors above 3 pixels counted as 3."""
    missed: tuple[int, ...] = ()


def solve_turntable(
    keypoints: Sequence[Float64[np.ndarray, "_k 2"]],
    matches: Sequence[Matches],
    belief: Belief,
    size_px: tuple[int, int],
) -> Turned | None:
    """Angles, axis, focal length and points of a turntable; None where no circle explains enough of the
    matches.

    Photos are in the order in which they were taken.
    """
    weak = moving_matches(keypoints, matches)
    moving = [m for m in weak if len(m.features) >= FEWEST_MATCHES]
    if not moving:
        return None
    tracks = join(keypoints, moving)
    if not len(tracks.point):
        return None
    longer = max(size_px)
    known = belief.deviation[0] < 0.5 * belief.mean[0]
    focals = [float(belief.mean[0])] if known else (SCAN * longer).tolist()
    found: list[tuple[Turned, tuple[int, ...]]] = []
    for focal in focals:
        theta = np.array([focal, *belief.mean[1:]])
        circle = _first_circle(keypoints, moving, theta, size_px)
        if circle is not None and (fitted := _fit(circle[0], theta, tracks, belief, longer, steps=8)) is not None:
            found.append((fitted, circle[1]))
    if not found:
        return None
    best, guessed = min(found, key=lambda pair: pair[0].error_px)
    for _ in range(2):
        largest_px = max(8 * best.adjusted.noise_px, 1.0)
        theta = best.adjusted.structure.lenses[0]
        best = _fit(best.motion, theta, tracks, belief, longer, steps=40, largest_px=largest_px) or best
    tracks = join(keypoints, weak)
    told = explained(best.adjusted.structure, range(len(keypoints)), tracks)
    if told.mean() < ENOUGH or len(guessed) > len(keypoints) / 2:
        return None
    missed = set(np.flatnonzero(share_by_view(told, tracks, len(keypoints)) < ENOUGH).tolist())
    if not _steps_are_equal(best.motion.angles, guessed):
        missed |= set(guessed)
    return replace(best, guessed=tuple(k for k in guessed if k not in missed), missed=tuple(sorted(missed)))


def _steps_are_equal(angles: Float64[np.ndarray, "n"], guessed: Sequence[int]) -> bool:
    """Between photos that were not guessed: what a guess between neighbours rests on."""
    seen = np.ones(len(angles), dtype=bool)
    seen[list(guessed)] = False
    steps = np.diff(np.unwrap(angles))[seen[1:] & seen[:-1]]
    return len(steps) >= 3 and bool(np.ptp(steps) < 0.1 * abs(np.median(steps)))


def moving_matches(keypoints: Sequence[Float64[np.ndarray, "_k 2"]], matches: Sequence[Matches]) -> list[Matches]:
    """The matches that move from photo to photo: those on what turns."""
    moving = []
    for m in matches:
        step = keypoints[m.first][m.features[:, 0]] - keypoints[m.second][m.features[:, 1]]
        moving.append(replace(m, features=m.features[np.linalg.norm(step, axis=1) > STILL_PX]))
    return [m for m in moving if len(m.features)]


def _fit(
    motion: CircleMotion,
    theta: np.ndarray,
    tracks: Tracks,
    belief: Belief,
    longer: int,
    *,
    steps: int,
    largest_px: float | None = None,
) -> Turned | None:
    """Intersect the tracks, leave out what misses, adjust; None where nearly all miss."""
    group = np.zeros(len(motion.angles), dtype=np.int64)
    structure = Structure(motion, theta[None].copy(), group, np.zeros((int(tracks.point.max()) + 1, 3)))
    structure = replace(structure, points=intersect(structure, tracks))
    kept = _within(structure, tracks, largest_px or LARGEST_ERROR * longer)
    if kept.sum() < 0.1 * len(kept) or kept.sum() < 30:
        return None
    adjusted = adjust(structure, tracks.where(kept), [belief], steps=steps)
    turned = adjusted.structure.motion
    assert isinstance(turned, CircleMotion), "a circle stays one when it is adjusted"
    everywhere = replace(adjusted.structure, points=intersect(adjusted.structure, tracks))
    length = np.linalg.norm(everywhere.residuals(tracks), axis=1)
    return Turned(turned, adjusted, tracks.where(kept), (), float(np.sqrt(np.mean(np.minimum(length, 3.0) ** 2))))


def _within(structure: Structure, tracks: Tracks, largest_px: float) -> np.ndarray:
    """Observations near their point's projection and before the camera, of points that keep two of them."""
    good = np.linalg.norm(structure.residuals(tracks), axis=1) < largest_px
    good &= structure.depths(tracks) > 0.05
    count = np.bincount(tracks.point[good], minlength=len(structure.points))
    return good & (count[tracks.point] >= 2)


def _first_circle(
    keypoints: Sequence[np.ndarray], matches: Sequence[Matches], theta: np.ndarray, size_px: tuple[int, int]
) -> tuple[CircleMotion, tuple[int, ...]] | None:
    """Axis and angles by vote of the pairs, and which photos no pair speaks of."""
    turns = [turn for m in matches if (turn := _turn(keypoints, m, theta, size_px)) is not None]
    if len(turns) < 2:
        return None
    axis = _common_axis(turns)
    angles = np.array([turn.rotation @ axis for turn in turns])
    u = np.cross(axis, [1.0, 0, 0] if abs(axis[0]) < 0.7 else [0, 1.0, 0])
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    # In the plane across the axis turns are complex factors: t = (1 - exp(iφ)) c.
    t = np.array([complex(turn.translation @ u, turn.translation @ v) for turn in turns])
    votes = t / (1 - np.exp(1j * angles))
    votes /= np.maximum(np.abs(votes), 1e-12)
    weights = np.array([turn.weight for turn in turns]) * np.minimum(np.abs(angles), 1.0)
    c = np.sum(weights * votes)
    for _ in range(10):
        c = np.sum(weights / (0.1 + np.abs(votes - c / abs(c))) * votes)
    origin = (c.real * u + c.imag * v) / abs(c)
    theta_k, guessed = _consistent_angles(turns, angles, len(keypoints))
    return CircleMotion(np.stack([axis, origin, np.cross(axis, origin)], axis=1), theta_k - theta_k[0]), guessed


def _turn(keypoints: Sequence[np.ndarray], m: Matches, theta: np.ndarray, size_px: tuple[int, int]) -> Turn | None:
    K = matrix_of(theta)
    camera = pycolmap.Camera(
        model="PINHOLE", width=size_px[0], height=size_px[1], params=[K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
    )
    options = pycolmap.RANSACOptions()
    options.max_error, options.random_seed = 2.0, SEED
    options.min_num_trials, options.max_num_trials = 50, 300
    found = pycolmap.estimate_relative_pose(
        camera, keypoints[m.first][m.features[:, 0]], camera, keypoints[m.second][m.features[:, 1]], options
    )
    if found is None or found["num_inliers"] < FEWEST_MATCHES:
        return None
    pose = found["cam2_from_cam1"]
    rotation = Rotation.from_matrix(pose.rotation.matrix()).as_rotvec()
    return Turn(m.first, m.second, rotation, np.asarray(pose.translation), float(found["num_inliers"]))


def _common_axis(turns: Sequence[Turn]) -> Float64[np.ndarray, "3"]:
    """The direction that most rotation vectors follow, either way; it points along the first steps' turns."""
    r = np.stack([turn.rotation for turn in turns])
    weight = np.array([turn.weight for turn in turns])
    unit = r / np.maximum(np.linalg.norm(r, axis=1, keepdims=True), 1e-12)
    trust = weight.copy()
    for _ in range(10):
        axis = np.linalg.eigh((trust[:, None] * unit).T @ unit)[1][:, -1]
        trust = weight / (0.05 + np.linalg.norm(np.cross(unit, axis), axis=1))
    step = np.array([turn.second - turn.first == 1 for turn in turns])
    return axis if (weight * step) @ (r @ axis) >= 0 else -axis


def _consistent_angles(
    turns: Sequence[Turn], angles: Float64[np.ndarray, "e"], count: int
) -> tuple[Float64[np.ndarray, "n"], tuple[int, ...]]:
    """θ with θ_j - θ_i = φ_ij up to whole turns: along the strongest tree, then robust least squares on all pairs.

    Photos that no pair reaches are put between their neighbours, which is right for equal steps.
    """
    i, j = np.array([t.first for t in turns]), np.array([t.second for t in turns])
    weight = np.array([t.weight for t in turns])
    tree = minimum_spanning_tree(sparse.coo_matrix((1 / weight, (i, j)), shape=(count, count)))
    root = int(np.argmax(np.bincount(np.concatenate([i, j]), minlength=count)))
    order, parent = breadth_first_order(tree, root, directed=False)
    phi = {(int(a), int(b)): float(p) for a, b, p in zip(i, j, angles)}
    theta = np.full(count, np.nan)
    theta[root] = 0.0
    for k in order[1:]:
        p = int(parent[k])
        theta[k] = theta[p] + (phi[p, int(k)] if (p, int(k)) in phi else -phi[int(k), p])
    lost = tuple(int(k) for k in np.flatnonzero(np.isnan(theta)))
    reached = np.isfinite(theta)
    use = reached[i] & reached[j]
    D = sparse.coo_matrix(
        (np.tile([-1.0, 1.0], use.sum()), (np.repeat(np.arange(use.sum()), 2), np.stack([i[use], j[use]], 1).ravel())),
        shape=(int(use.sum()), count),
    ).tocsr()
    theta = np.where(reached, theta, 0.0)
    for _ in range(15):
        off = np.angle(np.exp(1j * (D @ theta - angles[use])))
        w = weight[use] / (0.05 + np.abs(off))
        H = (D.T @ sparse.diags(w) @ D).toarray() + 1e-6 * np.eye(count)
        theta = theta - np.linalg.solve(H, D.T @ (w * off))
    if lost:
        at = np.flatnonzero(reached)
        theta[list(lost)] = np.interp(np.array(lost), at, np.unwrap(theta[at]))
    return theta, lost
