"""What an alignment through pointmaps may leave beside its scene: a GLB to look at, and its depth fused into a mesh.

Both are in the scene's own frame: `scene.glb` holds the points, and every camera as its photo on a small pyramid;
`fused.glb` is the surface that all depth maps vote on (`alignment.tsdf`), in the colours of the photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rilievo.alignment.dense import DenseView
from rilievo.alignment.export import write_glb
from rilievo.alignment.tsdf import fuse
from rilievo.data.scene import MaskMeaning
from rilievo.io.mesh_file import write_mesh
from rilievo.pipelines.network_photos import NetworkPhoto, masks_of
from rilievo.pipelines.pointmap_views import PointmapViews

GLB_NAME, FUSED_NAME = "scene.glb", "fused.glb"


@dataclass(frozen=True)
class Exports:
    """What is wanted."""

    glb: bool = False
    """Points, cameras and their photos in one file."""
    fuse: int | None = None
    """Depth maps fused into a mesh with so many voxels along the longest side."""


def write_exports(
    folder: Path,
    photos: Sequence[NetworkPhoto],
    views: PointmapViews,
    meaning: MaskMeaning | None,
    wanted: Exports,
) -> list[str]:
    """Write what is wanted into `folder`; returns a sentence about each file.

    Some pixel must be surer than `views.least_confidence`; otherwise a `UserError` is raised.
    """
    images = [torch.from_numpy(photo.prepared.pixels) for photo in photos]
    dense = [
        DenseView(X.float().cpu(), z.float().cpu(), C.float().cpu())
        for X, z, C in zip(views.points, views.depth, views.confidence)
    ]
    K, poses, least = views.K.float().cpu(), views.world_from_cam.float().cpu(), views.least_confidence
    notes = []
    if wanted.glb:
        write_glb(folder / GLB_NAME, dense, images, K, poses, least)
        notes.append(f"{GLB_NAME}: points, cameras and their photos")
    if wanted.fuse is not None:
        outside = meaning or MaskMeaning.IGNORE
        mesh = fuse(dense, K, poses, wanted.fuse, least, masks_of(photos), outside, images)
        if len(mesh.faces):
            write_mesh(folder / FUSED_NAME, mesh)
            notes.append(f"{FUSED_NAME}: {len(mesh.faces)} triangles at {wanted.fuse} voxels along the longest side")
        else:
            notes.append(f"no {FUSED_NAME}: no two depth maps agree on a surface at {wanted.fuse} voxels")
    return notes
