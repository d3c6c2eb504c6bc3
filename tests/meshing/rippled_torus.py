"""A torus whose tube is rippled, with the normal at each of its points."""

import numpy as np

from rilievo.geometry.mesh import TriMesh

RING, TUBE, HEIGHT = 0.7, 0.25, 0.012


def place(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The point at angle u round the ring and v round the tube."""
    tube = TUBE + HEIGHT * np.cos(14 * u) * np.cos(6 * v)
    out = RING + tube * np.cos(v)
    return np.stack([out * np.cos(u), out * np.sin(u), tube * np.sin(v)], -1)


def rippled_torus(rings: int, tubes: int) -> TriMesh:
    u, v = np.meshgrid(np.arange(rings), np.arange(tubes), indexing="ij")
    here, along, up, both = (
        ((u + i) % rings * tubes + (v + j) % tubes).ravel() for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))
    )
    faces = np.concatenate([np.stack([here, along, both], -1), np.stack([here, both, up], -1)])
    vertices = place(2 * np.pi * u.ravel() / rings, 2 * np.pi * v.ravel() / tubes)
    return TriMesh(vertices.astype(np.float32), faces)


def true_normals(points: np.ndarray) -> np.ndarray:
    """Unit normals of the surface at the angles of points near it, from central differences in double precision."""
    u = np.arctan2(points[:, 1], points[:, 0])
    v = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]) - RING)
    step = 1e-5
    normals = np.cross(place(u + step, v) - place(u - step, v), place(u, v + step) - place(u, v - step))
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)
