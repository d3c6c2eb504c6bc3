"""A mesh with maps of its material as OBJ, with an MTL file and its pictures beside it.

`map_Kd` is the base colour; `map_Pr`, `map_Pm` and `norm` are roughness, metallic and the normal map in the physically
based extension that Blender and others read (Exocortex 2015). Blender takes its normal map from `map_Bump`, which names
the same picture; readers that would take that for heights know `norm`, too. MTL has no tangents: the normal map is made
for those of MikkTSpace, which programs compute where a file has none. OBJ knows no up, so the vertices stay in the
frame they are given in.

Blender (5.0) takes every picture of an MTL file for sRGB; all but the albedo want "Non-Color" there. The GLB says it by
itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from rilievo.errors import clear
from rilievo.io.atomic import replacing, write_text

from .material_maps import MappedMesh


def write_material_obj(path: Path, body: MappedMesh) -> None:
    """Write NAME.obj, NAME.mtl, NAME_albedo.png, NAME_roughness.png, NAME_metallic.png, and NAME_normal.png where there
    is a normal map."""
    if path.suffix.lower() != ".obj":
        raise clear(f"mesh {path.name}", expected="a name ending in .obj", got=path.suffix or "none", do="rename it")
    name = path.stem
    pictures = {"albedo": body.color, "roughness": body.surface[..., 1], "metallic": body.surface[..., 2]}
    lines = [
        f"newmtl {name}",
        "Kd 1 1 1",
        "Pr 1",
        "Pm 1",
        f"map_Kd {name}_albedo.png",
        f"map_Pr {name}_roughness.png",
        f"map_Pm {name}_metallic.png",
    ]
    if body.normals is not None:
        pictures["normal"] = body.normals.picture
        lines += [f"norm {name}_normal.png", f"map_Bump -bm 1 {name}_normal.png"]
    for part, pixels in pictures.items():
        with replacing(path.with_name(f"{name}_{part}.png")) as temporary:
            Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG")
    write_text(path.with_suffix(".mtl"), "\n".join(lines) + "\n")
    normals = body.mesh.vertex_normals if body.mesh.normals is None else body.mesh.normals
    corners = np.repeat(body.mesh.faces[:, :, None] + 1, 3, axis=2).reshape(-1, 9)  # place, map and normal alike
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write(f"mtllib {name}.mtl\nusemtl {name}\n")
        np.savetxt(file, body.mesh.vertices, "v %.7g %.7g %.7g")
        np.savetxt(file, body.uv, "vt %.7g %.7g")
        np.savetxt(file, normals, "vn %.5f %.5f %.5f")
        np.savetxt(file, corners, "f %d/%d/%d %d/%d/%d %d/%d/%d")
