"""Open surfaces with known distances: (points) → feet, and finely triangulated truths."""

import numpy as np
import torch

from rilievo.geometry.mesh import TriMesh
from rilievo.ops.nearest import SurfaceTree

BOX = (torch.full((3,), -1.0, dtype=torch.float64), torch.full((3,), 1.0, dtype=torch.float64))


class ExactDistance:
    """u and ∇u from the nearest surface point."""

    def __init__(self, foot):
        self.foot, self.evaluations = foot, 0

    def __call__(self, points):
        self.evaluations += len(points)
        return (points - self.foot(points)).norm(dim=-1)

    def gradient(self, points):
        return torch.nn.functional.normalize(points - self.foot(points), dim=-1, eps=1e-30)


def hemisphere(radius):
    """The upper half of a sphere."""

    def foot(p):
        flat = torch.cat([p[:, :2], p[:, 2:].clamp_min(0)], dim=-1)
        return radius * torch.nn.functional.normalize(flat, dim=-1)

    return ExactDistance(foot)


def annulus(inner, outer, height=0.0):
    """A flat ring at a height; a disc where `inner` is 0."""

    def foot(p):
        ring = p[:, :2].norm(dim=-1, keepdim=True)
        flat = p[:, :2] * (ring.clamp(inner, outer) / ring.clamp_min(1e-12))
        return torch.cat([flat, torch.full_like(ring, height)], dim=-1)

    return ExactDistance(foot)


def of_mesh(mesh):
    tree = SurfaceTree(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces))
    return ExactDistance(lambda p: tree.nearest(p).point)


def grid_mesh(position, n_u, n_v):
    """Triangles over (u, v) in [0, 1]²."""
    u, v = np.meshgrid(np.linspace(0, 1, n_u), np.linspace(0, 1, n_v), indexing="ij")
    vertices = np.stack(position(u, v), axis=-1).reshape(-1, 3)
    first = (np.arange(n_u - 1)[:, None] * n_v + np.arange(n_v - 1)).reshape(-1)
    faces = [np.stack([first, first + n_v, first + n_v + 1], 1), np.stack([first, first + n_v + 1, first + 1], 1)]
    return TriMesh(vertices, np.concatenate(faces).astype(np.int64))


def hemisphere_mesh(radius, n=90):
    def position(u, v):
        around, up = 2 * np.pi * u, np.pi / 2 * v
        return radius * np.cos(around) * np.cos(up), radius * np.sin(around) * np.cos(up), radius * np.sin(up)

    return grid_mesh(position, 2 * n, n)


def wavy_sheet_mesh(half_size, amplitude, frequency, n=120):
    def position(u, v):
        x, y = half_size * (2 * u - 1), half_size * (2 * v - 1)
        return x, y, amplitude * np.sin(frequency * x) * np.cos(0.8 * frequency * y)

    return grid_mesh(position, n, n)


def moebius_mesh(n=200):
    def position(u, v):
        around, across = 2 * np.pi * u, 0.5 * (v - 0.5)
        ring = 0.65 + across * np.cos(around / 2)
        return ring * np.cos(around), ring * np.sin(around), across * np.sin(around / 2)

    return grid_mesh(position, n, 30)
