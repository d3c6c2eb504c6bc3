"""PLY tables are the same in every encoding."""

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.io.ply import read_points, read_table, write_points, write_table

HEADER = """ply
format {} 1.0
comment made by hand
element vertex 4
property double x
property float y
property short z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
property float quality
end_header
"""
XYZ = np.array([[0.5, 1.25, -3], [1, 0, 2], [0, 1, 7], [9.125, -1, 0]])
RGB = np.array([[0, 1, 2], [255, 254, 253], [7, 8, 9], [10, 20, 30]], dtype=np.uint8)


def encoded(kind: str, polygons: list[list[int]]) -> bytes:
    if kind == "ascii":
        rows = [" ".join(map(str, [x, y, int(z), *c])) for (x, y, z), c in zip(XYZ.tolist(), RGB.tolist())]
        rows += [" ".join(map(str, [len(p), *p, 0.5])) for p in polygons]
        body = ("\n".join(rows) + "\n").encode()
    else:
        order = "<" if kind == "binary_little_endian" else ">"
        body = b""
        for (x, y, z), color in zip(XYZ, RGB):
            body += np.array(x, f"{order}f8").tobytes() + np.array(y, f"{order}f4").tobytes()
            body += np.array(z, f"{order}i2").tobytes() + color.tobytes()
        for p in polygons:
            body += bytes([len(p)]) + np.array(p, f"{order}i4").tobytes() + np.array(0.5, f"{order}f4").tobytes()
    return HEADER.format(kind).encode() + body


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize(
    ("polygons", "triangles"),
    [([[0, 1, 2], [1, 2, 3]], [[0, 1, 2], [1, 2, 3]]), ([[0, 1, 2, 3], [1, 2, 3]], [[0, 1, 2], [0, 2, 3], [1, 2, 3]])],
)
def test_all_encodings_say_the_same(tmp_path, kind, polygons, triangles):
    (tmp_path / "a.ply").write_bytes(encoded(kind, polygons))
    points = read_points(tmp_path / "a.ply")
    np.testing.assert_array_equal(points.xyz, XYZ)
    np.testing.assert_array_equal(points.rgb, RGB)
    np.testing.assert_array_equal(points.faces, triangles)


def test_points_come_back_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    xyz, rgb = rng.normal(size=(9, 3)), rng.integers(0, 256, (9, 3), dtype=np.uint8)
    normals = rng.normal(size=(9, 3)).astype(np.float32)
    write_points(tmp_path / "a.ply", xyz, rgb, normals)
    back = read_points(tmp_path / "a.ply")
    np.testing.assert_array_equal(back.xyz, xyz)
    np.testing.assert_array_equal(back.rgb, rgb)
    np.testing.assert_array_equal(back.normals, normals)
    assert back.faces is None


def test_a_table_keeps_names_and_types(tmp_path):
    columns = {
        "x": np.zeros(3, np.float32),
        "opacity": np.arange(3, dtype=np.float64),
        "label": np.arange(3, dtype=np.int32),
    }
    write_table(tmp_path / "a.ply", columns)
    back = read_table(tmp_path / "a.ply")
    assert {name: column.dtype for name, column in back.items()} == {name: c.dtype for name, c in columns.items()}


def test_an_empty_cloud_is_a_cloud(tmp_path):
    write_points(tmp_path / "a.ply", np.zeros((0, 3)))
    assert read_points(tmp_path / "a.ply").xyz.shape == (0, 3)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file_is_named(tmp_path, kind, keep):
    whole = encoded(kind, [[0, 1, 2], [1, 2, 3]])
    (tmp_path / "broken.ply").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UserError, match=r"broken\.ply"):
        read_points(tmp_path / "broken.ply")


def test_other_files_are_named(tmp_path):
    (tmp_path / "a.ply").write_text("solid cube")
    with pytest.raises(UserError, match=r"a\.ply"):
        read_points(tmp_path / "a.ply")
    with pytest.raises(UserError, match=r"none\.ply"):
        read_points(tmp_path / "none.ply")
