"""A mesh with maps of its material as GLB, in glTF 2.0's metallic-roughness model.

glTF reads base colour as sRGB and the other maps as linear, roughness in its green channel and metallic in its blue
one, and takes y as up: the vertices are turned so that the capture's z is. A normal map goes with the tangents it was
made for, so that every viewer decodes it in the same frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

    turned = body.moved(Y_UP)
    relief = turned.normals
    looks = PBRMaterial(
        baseColorTexture=Image.fromarray(turned.color),
        metallicRoughnessTexture=Image.fromarray(turned.surface),
        normalTexture=None if relief is None else Image.fromarray(relief.picture),
        metallicFactor=1.0,
        roughnessFactor=1.0,
    )
    shown = trimesh.Trimesh(
        turned.mesh.vertices,
        turned.mesh.faces,
        vertex_normals=turned.mesh.normals,
        process=False,
        visual=trimesh.visual.TextureVisuals(uv=turned.uv, material=looks),
        vertex_attributes=None if relief is None else {"TANGENT": relief.tangents.astype(np.float32)},
    )
    with replacing(path) as temporary:
        shown.export(temporary, include_normals=True, tree_postprocessor=_name_tangents)


def _name_tangents(tree: dict[str, Any]) -> None:
    """What trimesh takes for an attribute of ours, and marks with an underscore, is one of glTF's own."""
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            named = primitive["attributes"]
            if "_TANGENT" in named:
                named["TANGENT"] = named.pop("_TANGENT")
