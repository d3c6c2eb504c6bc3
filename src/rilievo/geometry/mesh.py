"""Triangle meshes: arrays with names, and what can be said of them without asking where they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rilievo.geometry import ball


@dataclass(frozen=True)
class TriMesh:
    """Vertices, counter-clockwise triangles (seen from outside), and optional per-vertex normals and sRGB colours."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"] | None = None
    colors: UInt8[np.ndarray, "v 3"] | None = None

    @cached_property
    def corners(self) -> Float64[np.ndarray, "f 3 3"]:
        """Positions of the three corners of each face."""
        return self.vertices[self.faces].astype(np.float64)

    @cached_property
    def _crosses(self) -> Float64[np.ndarray, "f 3"]:
        """Outward normal of each face, twice its area long."""
        a, b, c = self.corners.swapaxes(0, 1)
        return np.cross(b - a, c - a)

    @property
    def face_normals(self) -> Float64[np.ndarray, "f 3"]:
        """Unit outward normals; 0 for a face without area."""
        return _unit(self._crosses)

    @property
    def areas(self) -> Float64[np.ndarray, "f"]:
        """Area of each face."""
        return np.linalg.norm(self._crosses, axis=1) / 2

    @property
    def area(self) -> float:
        return float(self.areas.sum())

    @property
    def volume(self) -> float:
        """Volume inside a closed mesh, by the divergence theorem; negative where faces look inwards."""
        return float((self.corners[:, 0] * self._crosses).sum() / 6)

    @property
    def vertex_normals(self) -> Float64[np.ndarray, "v 3"]:
        """Unit mean of the normals of the faces round each vertex, weighted by area; 0 for a vertex without faces."""
        totals = np.zeros((len(self.vertices), 3))
        for axis in range(3):
            weights = np.repeat(self._crosses[:, axis], 3)
            totals[:, axis] = np.bincount(self.faces.ravel(), weights=weights, minlength=len(totals))
        return _unit(totals)

    @property
    def bounding_ball(self) -> tuple[Float64[np.ndarray, "3"], float]:
        """Centre and radius of the smallest ball around the vertices that faces use."""
        return ball.bounding_ball(self.vertices[np.unique(self.faces)])

    def transformed(self, new_from_old: Float[np.ndarray, "4 4"]) -> TriMesh:
        """The mesh in another frame, given the similarity to it."""
        R = new_from_old[:3, :3] / np.cbrt(np.linalg.det(new_from_old[:3, :3]))
        vertices = self.vertices @ new_from_old[:3, :3].T + new_from_old[:3, 3]
        normals = None if self.normals is None else (self.normals @ R.T).astype(self.normals.dtype)
        return replace(self, vertices=vertices.astype(self.vertices.dtype), normals=normals)

    def is_closed(self) -> bool:
        """Whether there are faces and each edge belongs to two of them, which run along it in opposite directions."""
        edges, counts = np.unique(self._edge_keys, return_counts=True)
        both_ways = np.isin(self._edge_keys_reversed, edges, kind="sort").all()
        return len(self.faces) > 0 and bool((counts == 1).all() and both_ways)

    def boundary_loops(self) -> int:
        """Number of closed loops of edges that belong to one face only; loops that share one vertex count apart."""
        start, end = np.divmod(self._edge_keys, len(self.vertices))
        edges = np.unique(np.minimum(start, end) * len(self.vertices) + np.maximum(start, end), return_counts=True)
        start, end = np.divmod(edges[0][edges[1] == 1], len(self.vertices))
        used, ends = np.unique(np.concatenate((start, end)), return_inverse=True)
        count, _ = _joined(ends[: len(start)], ends[len(start) :], len(used))
        return len(start) - len(used) + count  # independent cycles: edges − vertices + components

    def components(self) -> tuple[int, Int[np.ndarray, "f"]]:
        """Number of pieces connected through shared vertices, and the piece of each face."""
        a, b, c = self.faces.T
        _, labels = _joined(np.concatenate((a, b)), np.concatenate((b, c)), len(self.vertices))
        pieces, of_face = np.unique(labels[a], return_inverse=True)
        return len(pieces), of_face

    def without_small_components(self, min_fraction: float) -> TriMesh:
        """Keep the pieces whose area is at least `min_fraction` of the largest piece's, and the vertices these use."""
        count, of_face = self.components()
        areas = np.bincount(of_face, weights=self.areas, minlength=count)
        return self.with_faces(areas[of_face] >= min_fraction * areas.max(initial=0))

    def with_faces(self, keep: Bool[np.ndarray, "f"]) -> TriMesh:
        """The chosen faces alone, with the vertices that they use."""
        used, faces = np.unique(self.faces[keep], return_inverse=True)
        return TriMesh(
            vertices=self.vertices[used],
            faces=faces.reshape(-1, 3).astype(self.faces.dtype),
            normals=None if self.normals is None else self.normals[used],
            colors=None if self.colors is None else self.colors[used],
        )

    @cached_property
    def _edge_keys(self) -> Int[np.ndarray, "e"]:
        """start * v + end of the three directed edges of each face."""
        ends = np.roll(self.faces, -1, axis=1)
        return (self.faces.astype(np.int64) * len(self.vertices) + ends).ravel()

    @property
    def _edge_keys_reversed(self) -> Int[np.ndarray, "e"]:
        start, end = np.divmod(self._edge_keys, len(self.vertices))
        return end * len(self.vertices) + start


def _joined(a: np.ndarray, b: np.ndarray, count: int) -> tuple[int, np.ndarray]:
    """Connected components of `count` nodes with edges a–b: their number and each node's label."""
    graph = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(count, count))
    return connected_components(graph, directed=False)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
