"""Bundle adjustment: poses, lenses and points that make all observations most probable, given what lenses are like.

Triggs et al. 2000, "Bundle adjustment: a modern synthesis". The cost is

    Σ ρ(|r|² / σ²) + Σ ((θ - mean) / deviation)²,    ρ(e) = c² log(1 + e / c²)    (Cauchy)

over reprojection errors r in pixels and lens parameters θ, with the noise σ taken from the residuals themselves.
Levenberg and Marquardt's method; points are eliminated by the Schur complement, so that a step costs a dense system in
the motion and the lenses alone.

SIFT's errors are not independent: a feature is off in the same way in all photos of it. `INFORMATION` is how many
independent observations one is worth, and keeps the residuals from shouting down the beliefs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64
from scipy import linalg, sparse

from rilievo.sfm.lens import PARAMETERS, Belief, project
from rilievo.sfm.motion import Motion

INFORMATION = 0.1
CAUCHY = 2.0
"""c: residuals of twice the noise count half."""
SMALLEST_NOISE = 0.05
"""Pixels; no feature is located better, and exact synthetic data must not divide by zero."""
NOISE_STEPS = 6
"""For so long σ follows the residuals; longer, it would shrink together with the weight of what it makes outliers."""
CONVERGED = 1e-5
"""Relative decrease of the cost."""
NEAREST = 1e-6
"""Smallest depth: what falls behind a camera is pushed in front of it, far off in pixels, and loses its weight."""


@dataclass(frozen=True)
class Tracks:
    """Who saw what where: observation o is point `point[o]` in view `view[o]` at pixel `xy[o]` (centres at +0.5)."""

    view: Int64[np.ndarray, "o"]
    point: Int64[np.ndarray, "o"]
    xy: Float64[np.ndarray, "o 2"]

    def where(self, keep: np.ndarray) -> Tracks:
        """The observations of a boolean mask; numbers of views and points stay."""
        return Tracks(self.view[keep], self.point[keep], self.xy[keep])


@dataclass(frozen=True)
class Structure:
    """What is adjusted: the motion of n views, the lens of each group of views, and the points."""

    motion: Motion
    lenses: Float64[np.ndarray, "g 8"]
    group: Int64[np.ndarray, "n"]
    points: Float64[np.ndarray, "p 3"]

    def residuals(self, tracks: Tracks) -> Float64[np.ndarray, "o 2"]:
        """Projection minus observation, in pixels."""
        return project(self._in_cam(tracks), self.lenses[self.group[tracks.view]])[0] - tracks.xy

    def depths(self, tracks: Tracks) -> Float64[np.ndarray, "o"]:
        """Of each observed point along the z axis of the camera that sees it."""
        R, t = self.motion.R[tracks.view], self.motion.t[tracks.view]
        return np.einsum("oj,oj->o", R[:, 2], self.points[tracks.point]) + t[:, 2]

    def _in_cam(self, tracks: Tracks) -> Float64[np.ndarray, "o 3"]:
        R, t = self.motion.R[tracks.view], self.motion.t[tracks.view]
        in_cam = np.einsum("oij,oj->oi", R, self.points[tracks.point]) + t
        in_cam[:, 2] = np.maximum(in_cam[:, 2], NEAREST)
        return in_cam


@dataclass(frozen=True)
class Adjusted:
    """The most probable structure, and how sure of it one may be."""

    structure: Structure
    noise_px: float
    """Standard deviation of one coordinate of an observation."""
    cost: float
    deviation: Float64[np.ndarray, "g 8"]
    """Posterior standard deviations of the lenses."""


def adjust(structure: Structure, tracks: Tracks, beliefs: Sequence[Belief], *, steps: int = 50) -> Adjusted:
    """Minimise the cost from `structure`; one belief per lens group.

    A parameter whose belief has no deviation stays as it is.
    """
    free = np.flatnonzero(np.concatenate([b.deviation > 0 for b in beliefs]))
    mean = np.concatenate([b.mean for b in beliefs])[free]
    precision = np.concatenate([b.deviation for b in beliefs])[free] ** -2.0
    noise = _noise(structure.residuals(tracks))
    damping, cost = 1e-4, _cost(structure, tracks, noise, mean, precision, free)
    system = _System(structure, tracks, noise, mean, precision, free)
    for step in range(steps):
        trial = system.step(damping)
        trial_cost = _cost(trial, tracks, noise, mean, precision, free)
        if not trial_cost < cost:
            damping *= 8
            if damping > 1e8:
                break
            continue
        converged = step >= NOISE_STEPS and cost - trial_cost < CONVERGED * cost
        structure, damping = trial, max(damping / 5, 1e-10)
        if step < NOISE_STEPS:
            noise = _noise(structure.residuals(tracks))
        cost = _cost(structure, tracks, noise, mean, precision, free)
        system = _System(structure, tracks, noise, mean, precision, free)
        if converged:
            break
    deviation = np.zeros(len(beliefs) * len(PARAMETERS))
    deviation[free] = system.lens_deviation()
    return Adjusted(structure, noise, cost, deviation.reshape(len(beliefs), -1))


def _noise(residuals: Float64[np.ndarray, "o 2"]) -> float:
    """σ of one coordinate from the median length, which for a normal pair is 1.1774 σ."""
    return max(float(np.median(np.linalg.norm(residuals, axis=1))) / 1.1774, SMALLEST_NOISE)


def _cost(
    structure: Structure, tracks: Tracks, noise: float, mean: np.ndarray, precision: np.ndarray, free: np.ndarray
) -> float:
    e = (structure.residuals(tracks) ** 2).sum(axis=1) / noise**2
    off = structure.lenses.ravel()[free] - mean
    return float(INFORMATION * CAUCHY**2 * np.log1p(e / CAUCHY**2).sum() + (precision * off**2).sum())


class _System:
    """The normal equations at one structure: [H W; Wᵀ V] (motion and lenses, points), right-hand sides g and h."""

    def __init__(
        self,
        structure: Structure,
        tracks: Tracks,
        noise: float,
        mean: np.ndarray,
        precision: np.ndarray,
        free: np.ndarray,
    ) -> None:
        self.structure, self.free = structure, free
        lens_of = structure.group[tracks.view]
        in_cam = structure._in_cam(tracks)
        pixels, by_cam, by_lens = project(in_cam, structure.lenses[lens_of])
        r = pixels - tracks.xy
        weight = INFORMATION / noise**2 / (1 + (r**2).sum(axis=1) / (CAUCHY * noise) ** 2)
        root = np.sqrt(weight)[:, None, None]
        r, by_cam, by_lens = r * root[..., 0], by_cam * root, by_lens * root
        by_pose = np.concatenate(
            [np.cross(in_cam[:, None, :], by_cam), by_cam], axis=2
        )  # ω x p: row·(ω x p) = ω·(p x row)
        motion = _blocks(by_pose, tracks.view, len(structure.group)) @ structure.motion.tangent()
        lens = _blocks(by_lens, lens_of, len(structure.lenses)).tocsc()[:, free]
        A = sparse.hstack([motion, lens], format="csr")
        by_point = np.einsum("oij,ojk->oik", by_cam, structure.motion.R[tracks.view])
        self.m, p = motion.shape[1], len(structure.points)
        self.H, self.g = (A.T @ A).toarray(), A.T @ r.ravel()
        off = structure.lenses.ravel()[free] - mean
        self.H[range(self.m, len(self.H)), range(self.m, len(self.H))] += precision
        self.g[self.m :] += precision * off
        self.W = (A.T @ _blocks(by_point, tracks.point, p)).tocsr()
        self.V, self.h = np.zeros((p, 3, 3)), np.zeros((p, 3))
        np.add.at(self.V, tracks.point, np.einsum("oij,oik->ojk", by_point, by_point))
        np.add.at(self.h, tracks.point, np.einsum("oij,oi->oj", by_point, r))

    def step(self, damping: float) -> Structure:
        """The structure after one damped Gauss-Newton step; the same structure where that needs more damping."""
        S, W_Vinv, Vinv = self._reduced(damping)
        rhs = -(self.g - W_Vinv @ self.h.ravel())
        try:
            delta = linalg.cho_solve(linalg.cho_factor(S), rhs)
        except linalg.LinAlgError:
            return self.structure
        along = self.h.ravel() + self.W.T @ delta
        points = -np.einsum("pij,pj->pi", Vinv, along.reshape(-1, 3))
        lenses = self.structure.lenses.copy().ravel()
        lenses[self.free] += delta[self.m :]
        return replace(
            self.structure,
            motion=self.structure.motion.moved(delta[: self.m]),
            lenses=lenses.reshape(self.structure.lenses.shape),
            points=self.structure.points + points,
        )

    def lens_deviation(self) -> Float64[np.ndarray, "k"]:
        """Posterior standard deviations of the free lens parameters; the frame of the world is anybody's."""
        S = self._reduced(1e-9)[0]
        scale = 1 / np.sqrt(np.diag(S))
        values, vectors = linalg.eigh(S * scale * scale[:, None])
        lens = vectors[self.m :] * scale[self.m :, None]
        return np.sqrt((lens**2 / np.maximum(values, 1e-12)) @ np.ones(len(values)))

    def _reduced(self, damping: float) -> tuple[np.ndarray, sparse.csr_matrix, np.ndarray]:
        V = self.V + damping * np.einsum("pij,ij->pij", self.V, np.eye(3)) + 1e-12 * np.eye(3)
        Vinv = np.linalg.inv(V)
        count = len(Vinv)
        W_Vinv = (self.W @ sparse.bsr_matrix((Vinv, np.arange(count), np.arange(count + 1)))).tocsr()
        S = self.H - (W_Vinv @ self.W.T).toarray()
        diagonal = np.diag(self.H)
        return S + np.diag(np.where(diagonal > 0, damping * diagonal, 1.0)), W_Vinv, Vinv  # 1: a view that saw nothing


def _blocks(rows: Float64[np.ndarray, "o 2 c"], column: Int64[np.ndarray, "o"], count: int) -> sparse.csr_matrix:
    """Two rows per observation, each with `c` entries in the block of columns `column`."""
    o, _, c = rows.shape
    columns = np.repeat(column[:, None] * c + np.arange(c), 2, axis=0)
    return sparse.csr_matrix((rows.ravel(), columns.ravel(), np.arange(0, 2 * o * c + 1, c)), shape=(2 * o, count * c))
