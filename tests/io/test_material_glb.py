"""A mesh with maps of its material: every place of the surface finds its material again in the file."""

import numpy as np
import pytest
import trimesh

from rilievo.errors import UserError
from rilievo.geometry.mesh import TriMesh
from rilievo.io.material_glb import write_material_glb
from rilievo.io.material_maps import MappedMesh, mapped
from rilievo.io.material_obj import write_material_obj
from rilievo.shading.color import linear_to_srgb


def ball() -> TriMesh:
    body = trimesh.creation.icosphere(subdivisions=2)
    return TriMesh(np.array(body.vertices, np.float32), np.array(body.faces))


def material(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Changes gently from place to place."""
    return 0.5 + 0.4 * points, 0.5 + 0.3 * points[:, :1], 0.5 + 0.3 * points[:, 1:2]


def test_maps_hold_the_material_of_the_place_they_are_laid_on(tmp_path):
    import torch

    moved = np.array([[0, -2, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1.0]])
    write_material_glb(tmp_path / "a.glb", mapped(ball(), material, size=256).moved(moved))
    body = trimesh.load(tmp_path / "a.glb", force="mesh", process=False)
    looks = body.visual.material
    assert (looks.metallicFactor, looks.roughnessFactor) == (1.0, 1.0)
    there = np.stack([body.vertices[:, 0], -body.vertices[:, 2], body.vertices[:, 1]], -1)  # z up again
    points = (there - moved[:3, 3]) @ moved[:3, :3] / 4
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1, atol=1e-5)
    middle = points[body.faces].mean(1)
    uv = body.visual.uv[body.faces].mean(1)
    x, y = (uv[:, 0] * 256).astype(int), ((1 - uv[:, 1]) * 256).astype(int)
    albedo, metallic, roughness = material(middle)
    color = np.asarray(looks.baseColorTexture.convert("RGB"))[y, x] / 255
    surface = np.asarray(looks.metallicRoughnessTexture.convert("RGB"))[y, x] / 255
    near = 0.03  # a texel is half a hundredth of the ball wide
    assert np.abs(color - linear_to_srgb(torch.from_numpy(albedo)).numpy()).max() < near
    assert np.abs(surface[:, 1] - roughness[:, 0]).max() < near
    assert np.abs(surface[:, 2] - metallic[:, 0]).max() < near


def test_an_obj_names_its_maps_and_keeps_its_axes(tmp_path):
    body: MappedMesh = mapped(ball(), material, size=64)
    write_material_obj(tmp_path / "a.obj", body)
    back = trimesh.load(tmp_path / "a.obj", force="mesh", process=False)
    np.testing.assert_allclose(np.sort(back.vertices, axis=0), np.sort(body.mesh.vertices, axis=0), atol=1e-5)
    assert back.visual.material.image.size == (64, 64)
    named = [line.split()[1] for line in (tmp_path / "a.mtl").read_text().splitlines() if line.startswith("map_")]
    assert len(named) == 3
    assert all((tmp_path / name).is_file() for name in named)


def test_nothing_cannot_be_unwrapped():
    with pytest.raises(UserError, match="faces"):
        mapped(TriMesh(np.zeros((0, 3)), np.zeros((0, 3), int)), material, 64)
