"""What a fit leaves: materials at the vertices as arrays (the published layout), a textured GLB, the light as EXR.

    materials/albedo.npy       [vertices, 3], linear
    materials/metallic.npy     [vertices, 1]
    materials/roughness.npy    [vertices, 1], the square root of GGX's α
    materials/light.exr        what surrounds the object, in the capture's axes, z up (`shading.environment`)
    material.glb               a mesh with maps of base colour, metallic, roughness and normals, y up as glTF has it
    material.obj, .mtl, .png   the same for programs that read no GLB, in the capture's axes

All belong to surface.ply, in the capture's frame. The textured mesh has fewer faces than that (`texture.faces`); the
normal map has what they leave out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rilievo.data.scene import Scene
from rilievo.geometry import sim3
from rilievo.io.atomic import replacing
from rilievo.io.material_glb import write_material_glb
from rilievo.io.material_maps import mapped
from rilievo.io.material_obj import write_material_obj
from rilievo.meshing.decimation import decimated
from rilievo.meshing.relief import Relief
from rilievo.shading.environment import Environment, texel_directions, write_environment

from .model import NeroMaterialModel

PANORAMA_ROWS = 128


def write_materials(folder: Path, model: NeroMaterialModel, scene: Scene) -> None:
    """Write everything above into the run folder."""
    kept = folder / "materials"
    kept.mkdir(exist_ok=True)
    material = model.vertex_materials()
    for name in ("albedo", "metallic", "roughness"):
        with replacing(kept / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, getattr(material, name).cpu().numpy())
    _, R, _ = sim3.split(scene.capture_from_world)
    towards = texel_directions(PANORAMA_ROWS) @ R  # given in the axes of the capture, wanted in those of the world
    light = model.panorama(PANORAMA_ROWS, towards.float().to(material.albedo))
    write_environment(kept / "light.exr", Environment(light.cpu()))

    def look_up(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with torch.no_grad():
            there = model.material(torch.from_numpy(points).to(material.albedo))
        return there.albedo.cpu().numpy(), there.metallic.cpu().numpy(), there.roughness.cpu().numpy()

    fine, texture = model.surface.mesh, model.config.texture
    coarse = decimated(fine, texture.faces) if texture.faces > 0 else fine
    relief = None if coarse is fine else Relief(fine, coarse)
    body = mapped(coarse, look_up, texture.size, relief).moved(scene.capture_from_world.numpy())
    write_material_glb(folder / "material.glb", body)
    write_material_obj(folder / "material.obj", body)
