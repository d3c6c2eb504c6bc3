"""A mesh with maps of its material as GLB, in glTF 2.0's metallic-roughness model.

glTF reads base colour as sRGB and the other map as linear, roughness in its green channel and metallic in its blue one,
and takes y as up: the vertices are turned so that the capture's z is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rilievo.io.atomic import replacing

from .material_maps import MappedMesh

Y_UP = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
"""glTF's axes from ours."""


def write_material_glb(path: Path, body: MappedMesh) -> None:
    """Write a mesh in the frame of its capture, z up, with its maps inside the file."""
    import trimesh
    from PIL import Image
    from trimesh.visual.material import PBRMaterial

    looks = PBRMaterial(
        baseColorTexture=Image.fromarray(body.color),
        metallicRoughnessTexture=Image.fromarray(body.surface),
        metallicFactor=1.0,
        roughnessFactor=1.0,
    )
    turned = body.mesh.transformed(Y_UP)
    shown = trimesh.Trimesh(
        turned.vertices,
        turned.faces,
        vertex_normals=turned.normals,
        process=False,
        visual=trimesh.visual.TextureVisuals(uv=body.uv, material=looks),
    )
    with replacing(path) as temporary:
        shown.export(temporary, include_normals=True)
