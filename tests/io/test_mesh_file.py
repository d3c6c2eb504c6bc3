"""A mesh comes back from every format with its triangles and colours."""

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.geometry.mesh import TriMesh
from rilievo.io.mesh_file import SUFFIXES, read_mesh, write_mesh


@pytest.fixture
def tetrahedron():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.5]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    normals = vertices - vertices.mean(0)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colors = np.array([[255, 0, 10], [0, 255, 20], [1, 2, 255], [9, 8, 7]], dtype=np.uint8)
    return TriMesh(vertices, faces, normals, colors)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_shape_and_colours_survive(tmp_path, tetrahedron, suffix):
    path = tmp_path / f"mesh{suffix}"
    write_mesh(path, tetrahedron)
    back = read_mesh(path)
    np.testing.assert_allclose(back.vertices[back.faces], tetrahedron.vertices[tetrahedron.faces], atol=1e-6)
    np.testing.assert_array_equal(back.colors[back.faces], tetrahedron.colors[tetrahedron.faces])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == ".ply":
        np.testing.assert_allclose(back.normals, tetrahedron.normals, atol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_bare_mesh_survives(tmp_path, tetrahedron, suffix):
    write_mesh(tmp_path / f"mesh{suffix}", TriMesh(tetrahedron.vertices, tetrahedron.faces))
    back = read_mesh(tmp_path / f"mesh{suffix}")
    np.testing.assert_allclose(back.vertices[back.faces], tetrahedron.vertices[tetrahedron.faces], atol=1e-6)
    assert back.colors is None


def test_other_suffixes_missing_and_broken_files_are_named(tmp_path, tetrahedron):
    with pytest.raises(UserError, match=r"mesh\.stl"):
        write_mesh(tmp_path / "mesh.stl", tetrahedron)
    (tmp_path / "broken.glb").write_bytes(b"glTF nonsense")
    for name in ("broken.glb", "nowhere.obj", "nowhere.ply"):
        with pytest.raises(UserError, match=name):
            read_mesh(tmp_path / name)
