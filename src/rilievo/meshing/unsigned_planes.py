"""From an unsigned distance to a signed one, locally: tangent planes agreed on by the points around.

A point x whose distance u and unit gradient g can be trusted is a *witness*: the surface passes through its foot
x - u g with normal ±g. Three things can be wrong with it, and its mirror image y = x - 2 u g tells all three. Where the
surface ends, the foot lies on its edge and g leans outwards: then the gradient at y is not -g, and x does not testify.
A learned distance has a smallest value ε > 0, which pushes the foot ε too far: then u(y) - u(x) = 2ε. And noise in u
is halved by the mean of both.

Every lattice vertex near the surface then gets the signed distance F from the weighted mean of the tangent planes
nearest to its own foot (Hoppe et al. 1992), with the mean normal M, both up to one common sign. Planes go on past an
edge of the surface, which is what lets it be cut there rather than fray. Within a cell the corners choose their signs
so that their normals agree; two cells that share a face come to the same crossings on it whichever way round each
decided, so no sign has to be known globally and a Möbius strip is as good as a disc.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial import cKDTree

from rilievo.meshing.unsigned_band import Band, UnsignedField, unit

NEAREST, FARTHEST = 0.3, 1.7
"""Witnesses stand this many voxels from the surface: nearer, a learned gradient is noise."""

AGREEMENT = 0.9
"""Cosine between g and the opposite of its mirror image's gradient from which on a witness is believed."""

PLANES = 12
WIDTH = 0.7
"""Planes averaged for a lattice vertex, and the deviation of their weights in voxels."""

HORIZON = 3.0
"""Voxels from its foot beyond which a lattice vertex has no witness."""


@dataclass(frozen=True)
class Witnesses:
    """Points of the surface with normals of unknown side."""

    feet: Float64[np.ndarray, "n 3"]
    normals: Float64[np.ndarray, "n 3"]


@dataclass(frozen=True)
class TangentPlanes:
    """What each corner of a band knows: a signed distance and a normal, which change sign together."""

    signed: Float64[np.ndarray, "corners"]
    """NaN where no witness is near."""
    normals: Float64[np.ndarray, "corners 3"]

    def cell_values(self, band: Band) -> Float64[np.ndarray, "cells 8"]:
        """Signed distances of each cell's corners, their normals made to agree."""
        normals = self.normals[band.of_cell]
        side = np.where(np.einsum("nkx,nx->nk", normals, normals[:, 0]) < 0, -1.0, 1.0)
        mean = np.einsum("nkx,nk->nx", normals, side)
        side = np.where(np.einsum("nkx,nx->nk", normals, mean) < 0, -1.0, 1.0)
        return self.signed[band.of_cell] * side


def tangent_planes(field: UnsignedField, band: Band) -> TangentPlanes:
    """Signed distance and normal at the corners of a band."""
    points = field.lattice.positions(band.corners.astype(np.float64))
    distance, direction = field.distance(points), field.direction(points)
    witnesses = _witnesses(field, points, distance, direction)
    signed, normals = np.full(len(points), np.nan), np.zeros((len(points), 3))
    if not len(witnesses.feet):
        return TangentPlanes(signed, normals)
    tree = cKDTree(witnesses.feet)
    for start in range(0, len(points), field.lattice.chunk):
        part = slice(start, start + field.lattice.chunk)
        own_foot = points[part] - distance[part, None] * direction[part]
        signed[part], normals[part] = _mean_plane(witnesses, tree, points[part], own_foot, field.voxel)
    return TangentPlanes(signed, normals)


def _mean_plane(
    witnesses: Witnesses,
    tree: cKDTree,
    points: Float64[np.ndarray, "n 3"],
    own_foot: Float64[np.ndarray, "n 3"],
    voxel: float,
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n 3"]]:
    """Height of points over the mean of the planes round their feet, NaN without any, and its normal."""
    count = min(PLANES, len(witnesses.feet))
    away, which = tree.query(own_foot, k=count, distance_upper_bound=HORIZON * voxel)
    away, which = away.reshape(-1, count), which.reshape(-1, count)
    there = np.isfinite(away)
    away, which = np.where(there, away, 0), np.where(there, which, 0)
    weight = np.where(there, np.exp((away[:, :1] ** 2 - away**2) / (2 * (WIDTH * voxel) ** 2)), 0)
    plane_normals = witnesses.normals[which]
    signed_weight = weight * np.where(np.einsum("nkx,nx->nk", plane_normals, plane_normals[:, 0]) < 0, -1, 1)
    height = np.einsum("nkx,nkx->nk", points[:, None] - witnesses.feet[which], plane_normals)
    total = weight.sum(axis=1)
    mean = (signed_weight * height).sum(axis=1) / np.where(total > 0, total, np.nan)
    mean = np.where(mean == 0, np.finfo(np.float64).tiny, mean)  # a zero would have no side to change
    return mean, unit(np.einsum("nkx,nk->nx", plane_normals, signed_weight))


def _witnesses(
    field: UnsignedField,
    points: Float64[np.ndarray, "n 3"],
    distance: Float64[np.ndarray, "n"],
    direction: Float64[np.ndarray, "n 3"],
) -> Witnesses:
    """The points that testify, among those at a distance that can be trusted."""
    chosen = (distance > NEAREST * field.voxel) & (distance < FARTHEST * field.voxel)
    points, distance, direction = points[chosen], distance[chosen], direction[chosen]
    mirrored = points - 2 * distance[:, None] * direction
    there, back = field.distance(mirrored), field.direction(mirrored)
    believed = (-(direction * back).sum(axis=1) > AGREEMENT) & (np.abs(there - distance) < field.voxel / 2)
    foot = points - (distance + (distance - there) / 2)[:, None] * direction
    return Witnesses(foot[believed], unit(direction - back)[believed])
