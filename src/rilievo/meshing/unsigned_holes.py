"""Pinholes: what is left open where two cells disagree.

On a face whose inside corners lie on one diagonal, marching cubes keeps the inside apart (`cube_table`). Two cells that
took opposite sides for the inside draw different contours there and leave a hole of four edges between them. Larger
ones are left where a learned field goes below zero before its absolute value is taken: it is as good as zero all over
the spot, and has no gradient to speak of. Such holes are closed by a fan, if the field is small all over it; in an
opening of the surface itself the field grows with the distance from the rim.
"""

from __future__ import annotations

import numpy as np

from rilievo.meshing.unsigned_band import UnsignedField, unit
from rilievo.meshing.unsigned_edge import Patch, face_edges, joined

MOST_EDGES = 64
"""Around a hole that a fan can close."""

SMALL = 0.5
"""Voxels from the surface at which the middle of a hole may be, and what lies half way to its rim."""


def pinholes_filled(field: UnsignedField, patch: Patch) -> Patch:
    """The mesh with fans over its pinholes."""
    edges, count = face_edges(patch.faces)
    border = edges[count == 1]
    _, piece = joined(border, len(patch.vertices))
    of_edge = piece[border[:, 0]]
    degree = np.bincount(border.ravel(), minlength=len(patch.vertices))
    knotted = np.unique(piece[degree > 2])  # several loops meet there: not a simple hole
    loops, size = np.unique(of_edge, return_counts=True)
    loops = loops[(size <= MOST_EDGES) & ~np.isin(loops, knotted)]
    vertices, normals, faces = [patch.vertices], [patch.normals], [patch.faces]
    added = len(patch.vertices)
    for loop in loops:
        rim = border[of_edge == loop]
        middle = patch.vertices[rim].mean(axis=(0, 1))[None]
        half_way = (patch.vertices[rim].mean(axis=1) + middle) / 2
        if field.distance(np.concatenate([middle, half_way])).max() > SMALL * field.voxel:
            continue
        around = patch.normals[rim[:, 0]]
        normals.append(unit((around * np.where(around @ around[0] < 0, -1, 1)[:, None]).mean(axis=0)[None]))
        vertices.append(middle)
        faces.append(np.concatenate([rim, np.full((len(rim), 1), added)], axis=1))
        added += 1
    return Patch(np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces))
