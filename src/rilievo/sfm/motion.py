"""Ways in which a camera can have moved: freely, or on a circle about one axis as on a turntable.

A motion holds cam_from_world of n views as rotations R and translations t, x_cam = R x + t, and says how they change
with its own m parameters: `tangent` is the sparse matrix from those to the n rigid motions (ω, τ) in camera axes,
x_cam + ω × x_cam + τ. The bundle adjustment needs nothing else, so that a constraint on the motion is a matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from scipy import sparse
from scipy.spatial.transform import Rotation

Rotations = Float64[np.ndarray, "n 3 3"]
Translations = Float64[np.ndarray, "n 3"]


@runtime_checkable
class Motion(Protocol):
    """What the bundle adjustment asks of a motion."""

    @property
    def R(self) -> Rotations: ...

    @property
    def t(self) -> Translations: ...

    def tangent(self) -> sparse.csr_matrix:
        """[6n, m]: (ω, τ) of each view by the motion's parameters."""
        ...

    def moved(self, step: Float64[np.ndarray, "m"]) -> Motion: ...


@dataclass(frozen=True)
class FreeMotion:
    """Every view on its own."""

    R: Rotations
    t: Translations

    def tangent(self) -> sparse.csr_matrix:
        return sparse.identity(6 * len(self.R), format="csr")

    def moved(self, step: Float64[np.ndarray, "m"]) -> FreeMotion:
        omega, tau = step.reshape(-1, 6)[:, :3], step.reshape(-1, 6)[:, 3:]
        turn = Rotation.from_rotvec(omega).as_matrix()
        return FreeMotion(turn @ self.R, (turn @ self.t[..., None])[..., 0] + tau)


@dataclass(frozen=True)
class FixedMotion:
    """Poses that are known."""

    R: Rotations
    t: Translations

    def tangent(self) -> sparse.csr_matrix:
        return sparse.csr_matrix((6 * len(self.R), 0))

    def moved(self, step: Float64[np.ndarray, "m"]) -> FixedMotion:
        return self


@dataclass(frozen=True)
class CircleMotion:
    """A camera that stands still before an object which turns by `angles` (radians) about one axis.

    The columns of `frame` are, in camera axes, the axis e₁, the direction e₂ from the camera to the axis' nearest
    point, and e₃ = e₁ x e₂. That point is the world's origin and its distance the unit: R_k = exp(θ_k e₁), t_k = e₂.
    Parameters: a turn of the frame (3) and the angles but the first (n - 1), to which all others are relative.
    """

    frame: Float64[np.ndarray, "3 3"]
    angles: Float64[np.ndarray, "n"]

    @property
    def R(self) -> Rotations:
        return Rotation.from_rotvec(self.angles[:, None] * self.frame[:, 0]).as_matrix()

    @property
    def t(self) -> Translations:
        return np.tile(self.frame[:, 1], (len(self.angles), 1))

    def tangent(self) -> sparse.csr_matrix:
        """Turning the frame by φ turns axis and origin: R' = exp(φ) R exp(-φ), t' = exp(φ) t.

        Written as a rigid motion in camera axes, ω = φ - R φ, and τ is what is left at the origin: -ω x t + φ x t.
        """
        n = len(self.angles)
        R, axis, origin = self.R, self.frame[:, 0], self.frame[:, 1]
        by_turn = np.eye(3) - R
        cross = np.array([[0, -origin[2], origin[1]], [origin[2], 0, -origin[0]], [-origin[1], origin[0], 0]])
        dense = np.zeros((n, 6, 3 + n))
        dense[:, :3, :3] = by_turn
        dense[:, 3:, :3] = cross @ by_turn - cross
        for k in range(n):
            dense[k, :3, 3 + k] = axis
            dense[k, 3:, 3 + k] = cross @ axis
        return sparse.csr_matrix(np.delete(dense.reshape(6 * n, 3 + n), 3, axis=1))

    def moved(self, step: Float64[np.ndarray, "m"]) -> CircleMotion:
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        return CircleMotion(turn @ self.frame, self.angles + np.concatenate([[0.0], step[3:]]))
