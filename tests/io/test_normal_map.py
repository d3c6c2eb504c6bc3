"""A coarse mesh with a normal map is turned as the fine mesh is, in files as other programs read them."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from rilievo.geometry.mesh import TriMesh
from rilievo.io.material_glb import write_material_glb
from rilievo.io.material_maps import MappedMesh, mapped
from rilievo.io.material_obj import write_material_obj
from rilievo.meshing.decimation import decimated
from rilievo.meshing.relief import Relief
from rilievo.ops.nearest import SurfaceTree

from ..meshing.rippled_torus import rippled_torus, true_normals

SIZE = 512
TYPES = {5126: "<f4", 5125: "<u4", 5123: "<u2"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


def material(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return 0.5 + 0.4 * points, 0.5 + 0.3 * points[:, :1], 0.5 + 0.3 * points[:, 1:2]


@pytest.fixture(scope="module")
def fine() -> TriMesh:
    return rippled_torus(300, 110)


@pytest.fixture(scope="module")
def body(fine) -> MappedMesh:
    coarse = decimated(fine, 2500)
    return mapped(coarse, material, SIZE, Relief(fine, coarse))


def read_glb(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    (size,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + size]), data[20 + size + 8 :]


def accessor(tree: dict, blob: bytes, index: int) -> np.ndarray:
    told = tree["accessors"][index]
    view = tree["bufferViews"][told["bufferView"]]
    start, width = view.get("byteOffset", 0) + told.get("byteOffset", 0), WIDTHS[told["type"]]
    return np.frombuffer(blob, TYPES[told["componentType"]], told["count"] * width, start).reshape(-1, width)


def texture(tree: dict, blob: bytes, index: int) -> np.ndarray:
    view = tree["bufferViews"][tree["images"][tree["textures"][index]["source"]]["bufferView"]]
    start = view.get("byteOffset", 0)
    return np.asarray(Image.open(io.BytesIO(blob[start : start + view["byteLength"]])).convert("RGB"))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def median_angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.median(np.arccos((unit(a) * unit(b)).sum(-1).clip(-1, 1)))))


def test_a_viewer_of_the_glb_sees_the_normals_of_the_fine_surface(body, tmp_path):
    """The file is read, and its normal map decoded, by the letter of glTF 2.0."""
    capture_from_world = np.array([[0, -3, 0, 1], [3, 0, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1.0]])
    write_material_glb(tmp_path / "a.glb", body.moved(capture_from_world))
    tree, blob = read_glb(tmp_path / "a.glb")
    primitive = tree["meshes"][0]["primitives"][0]
    names = ("POSITION", "NORMAL", "TANGENT", "TEXCOORD_0")
    assert set(primitive["attributes"]) == set(names)
    faces = accessor(tree, blob, primitive["indices"]).reshape(-1, 3)
    chosen = np.random.default_rng(0).integers(len(faces), size=5000)
    weights = np.random.default_rng(1).dirichlet((1, 1, 1), size=5000)
    position, normal, tangent, uv = (
        (accessor(tree, blob, primitive["attributes"][n]).astype(float)[faces[chosen]] * weights[..., None]).sum(1)
        for n in names
    )
    picture = texture(tree, blob, tree["materials"][primitive["material"]]["normalTexture"]["index"])
    assert picture.shape == (SIZE, SIZE, 3)
    column, row = (uv * SIZE).astype(int).T  # v runs down here
    x, y, z = (picture[row, column].astype(float) / 127.5 - 1).T[..., None]
    n, t = unit(normal), unit(tangent[:, :3])
    decoded = x * t + y * np.cross(n, t) * np.sign(tangent[:, 3:]) + z * n
    z_up = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
    back = np.linalg.inv(capture_from_world)
    there = position @ z_up.T @ back[:3, :3].T + back[:3, 3]
    truth = true_normals(there) @ back[:3, :3] @ z_up  # into the axes of the file
    with_map, without = median_angle(decoded, truth), median_angle(normal, truth)
    assert with_map < 2
    assert with_map < without / 3


def test_frames_in_the_file_are_unit_and_right_angled(body, tmp_path):
    """What a glTF validator asks of tangents."""
    write_material_glb(tmp_path / "a.glb", body)
    tree, blob = read_glb(tmp_path / "a.glb")
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    normal, tangent = (accessor(tree, blob, attributes[n]) for n in ("NORMAL", "TANGENT"))
    np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(tangent[:, :3], axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose((normal * tangent[:, :3]).sum(-1), 0, atol=1e-5)
    assert set(np.unique(tangent[:, 3])) <= {-1.0, 1.0}


def test_another_library_reads_the_glb(body, tmp_path):
    write_material_glb(tmp_path / "a.glb", body)
    back = trimesh.load(tmp_path / "a.glb", force="mesh", process=False)
    assert len(back.faces) == len(body.mesh.faces)
    assert back.visual.material.normalTexture.size == (SIZE, SIZE)


def test_materials_are_those_of_the_fine_surface(fine, tmp_path):
    """What is learned on the fine surface alone is asked there, not on the coarse one beneath."""
    coarse = decimated(fine, 2500)
    asked = []

    def look_up(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        asked.append(points)
        return material(points)

    mapped(coarse, look_up, 64, Relief(fine, coarse))
    mapped(coarse, look_up, 64)
    tree = SurfaceTree(torch.from_numpy(fine.vertices), torch.from_numpy(fine.faces))
    off, coarse_off = (tree.nearest(torch.from_numpy(points)).distance.numpy() for points in asked)
    assert off.max() < 1e-5
    assert coarse_off.max() > 1e-3


def test_an_obj_names_its_normal_map(body, tmp_path):
    write_material_obj(tmp_path / "a.obj", body)
    lines = (tmp_path / "a.mtl").read_text().splitlines()
    named = {line.split()[0]: line.split()[-1] for line in lines if line.endswith("normal.png")}
    assert named == {"norm": "a_normal.png", "map_Bump": "a_normal.png"}
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a_normal.png")), body.normals.picture)


def test_a_mesh_that_stands_for_itself_has_no_normal_map(fine, tmp_path):
    whole = mapped(rippled_torus(30, 12), material, 64)
    assert whole.normals is None
    write_material_glb(tmp_path / "a.glb", whole)
    tree, _ = read_glb(tmp_path / "a.glb")
    assert "normalTexture" not in tree["materials"][0]
    assert "TANGENT" not in tree["meshes"][0]["primitives"][0]["attributes"]
