"""Stanford PLY: points, meshes and any other table of vertices, ascii or binary of either byte order.

A PLY file is a text header that declares elements (vertex, face, …) with typed properties, then their values. Scalar
properties become the columns of a structured array; list properties are kept where all lists have one length
(triangles) and walked over where they have not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from rilievo.errors import UserError, clear
from rilievo.io.atomic import replacing

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_NAMES = {"u1": "uchar", "i4": "int", "u4": "uint", "f4": "float", "f8": "double"}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class PlyPoints:
    """The vertices of a PLY file, and its triangles where it has faces."""

    xyz: Float64[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"] | None = None
    normals: Float64[np.ndarray, "p 3"] | None = None
    faces: Int64[np.ndarray, "f 3"] | None = None


@dataclass(frozen=True)
class _Property:
    name: str
    type: str
    count_type: str | None = None
    """Of a list property: the type of its length."""


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: tuple[_Property, ...]

    @property
    def has_lists(self) -> bool:
        return any(p.count_type for p in self.properties)


def read_points(path: Path) -> PlyPoints:
    """Vertices with colours and normals where present; polygons are cut into triangles as fans.

    Raises `UserError` for a file that is missing, truncated or no PLY.
    """
    elements = _read(path)
    vertices = elements.get("vertex", ({}, {}))[0]
    if not {"x", "y", "z"} <= vertices.keys():
        raise clear(
            str(path), expected="vertices with x, y, z", got=", ".join(vertices) or "none", do="export it again"
        )
    xyz = np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
    rgb = normals = faces = None
    for names in (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue")):
        if set(names) <= vertices.keys():
            rgb = _as_bytes(np.stack([vertices[name] for name in names], axis=1))
            break
    if {"nx", "ny", "nz"} <= vertices.keys():
        normals = np.stack([vertices[f"n{axis}"] for axis in "xyz"], axis=1).astype(np.float64)
    lists = elements.get("face", ({}, {}))[1]
    for name in ("vertex_indices", "vertex_index"):
        if name in lists:
            faces = _fans(lists[name])
    return PlyPoints(xyz, rgb, normals, faces)


def read_table(path: Path, element: str = "vertex") -> dict[str, np.ndarray]:
    """All scalar properties of an element by name, as they are typed in the file.

    Raises `UserError` for a file that is missing, truncated, no PLY, or without that element.
    """
    elements = _read(path)
    if element not in elements:
        raise clear(str(path), expected=f"an element {element!r}", got=", ".join(elements), do="export it again")
    return elements[element][0]


def write_points(
    path: Path,
    xyz: Float[np.ndarray, "p 3"],
    rgb: UInt8[np.ndarray, "p 3"] | None = None,
    normals: Float[np.ndarray, "p 3"] | None = None,
) -> None:
    """Write points, binary little endian, whole or not at all; coordinates keep their float type."""
    columns: dict[str, np.ndarray] = {axis: xyz[:, i] for i, axis in enumerate("xyz")}
    if normals is not None:
        columns |= {f"n{axis}": normals[:, i].astype(np.float32) for i, axis in enumerate("xyz")}
    if rgb is not None:
        columns |= {name: rgb[:, i] for i, name in enumerate(("red", "green", "blue"))}
    write_table(path, columns)


def write_table(path: Path, columns: Mapping[str, np.ndarray], faces: np.ndarray | None = None) -> None:
    """Write vertices with any named columns (float32, float64, int32, uint32, uint8), and triangles, binary little
    endian."""
    count = len(next(iter(columns.values())))
    vertices = np.empty(count, dtype=[(name, "<" + column.dtype.str[1:]) for name, column in columns.items()])
    header = ["ply", "format binary_little_endian 1.0", "comment rilievo", f"element vertex {count}"]
    for name, column in columns.items():
        vertices[name] = column
        header.append(f"property {_NAMES[column.dtype.str[1:]]} {name}")
    body = vertices.tobytes()
    if faces is not None:
        triangles = np.empty(len(faces), dtype=[("n", "u1"), ("v", "<i4", 3)])
        triangles["n"], triangles["v"] = 3, faces
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        body += triangles.tobytes()
    with replacing(path) as temporary:
        temporary.write_bytes("\n".join([*header, "end_header\n"]).encode("ascii") + body)


def _read(path: Path) -> dict[str, tuple[dict[str, np.ndarray], dict[str, list[np.ndarray]]]]:
    """For each element: its scalar columns, and its list properties as one array per row."""
    try:
        stream = BytesIO(path.read_bytes())
    except OSError as error:
        raise clear(str(path), expected="a PLY file", got=error.strerror or str(error), do="check the path") from error
    try:
        order, elements = _header(stream)
        if order == "=":
            words = iter(stream.read().decode("ascii").split())
            return {element.name: _ascii_rows(element, words) for element in elements}
        return {element.name: _binary_rows(element, order, stream) for element in elements}
    except (ValueError, KeyError, IndexError, StopIteration) as error:
        if isinstance(error, UserError):
            raise
        got = "a truncated file" if isinstance(error, StopIteration | IndexError) else str(error)
        raise clear(str(path), expected="a complete PLY file", got=got, do="copy or export it again") from error


def _header(stream: BytesIO) -> tuple[str, list[_Element]]:
    if stream.readline().strip() != b"ply":
        raise ValueError("a file that does not start with 'ply'")
    order: str | None = None
    elements: list[_Element] = []
    while (line := stream.readline()) and line.strip() != b"end_header":
        match line.decode("ascii").split():
            case ["format", name, _]:
                order = _ORDERS[name]
            case ["element", name, count]:
                elements.append(_Element(name, int(count), ()))
            case ["property", "list", count_type, type_, name]:
                elements[-1] = _with(elements[-1], _Property(name, _TYPES[type_], _TYPES[count_type]))
            case ["property", type_, name]:
                elements[-1] = _with(elements[-1], _Property(name, _TYPES[type_]))
    if not line or order is None:
        raise ValueError("a header without end or format")
    return order, elements


def _with(element: _Element, added: _Property) -> _Element:
    return _Element(element.name, element.count, (*element.properties, added))


def _binary_rows(
    element: _Element, order: str, stream: BytesIO
) -> tuple[dict[str, np.ndarray], dict[str, list[np.ndarray]]]:
    if not element.has_lists:
        row = np.dtype([(p.name, order + p.type) for p in element.properties])
        table = np.frombuffer(_take(stream, element.count * row.itemsize), row)
        return {p.name: table[p.name].astype(p.type) for p in element.properties}, {}
    if (regular := _regular_rows(element, order, stream)) is not None:
        return regular
    scalars: dict[str, list[np.ndarray]] = {p.name: [] for p in element.properties if p.count_type is None}
    lists: dict[str, list[np.ndarray]] = {p.name: [] for p in element.properties if p.count_type is not None}
    for _ in range(element.count):
        for p in element.properties:
            length = 1
            if p.count_type is not None:
                count = np.dtype(order + p.count_type)
                length = int(np.frombuffer(_take(stream, count.itemsize), count)[0])
            kind = np.dtype(order + p.type)
            values = np.frombuffer(_take(stream, length * kind.itemsize), kind).astype(p.type)
            (lists if p.count_type else scalars)[p.name].append(values)
    return {name: np.concatenate(rows) if rows else np.zeros(0) for name, rows in scalars.items()}, lists


def _regular_rows(
    element: _Element, order: str, stream: BytesIO
) -> tuple[dict[str, np.ndarray], dict[str, list[np.ndarray]]] | None:
    """The common case of lists that all have three entries, in one read; None (and nothing read) when they have not."""
    start, fields = stream.tell(), []
    for p in element.properties:
        if p.count_type is not None:
            fields.append((f"{p.name} length", order + p.count_type))
        fields.append((p.name, order + p.type, 3) if p.count_type else (p.name, order + p.type))  # type: ignore[arg-type]
    row = np.dtype(fields)
    raw = stream.read(element.count * row.itemsize)
    if len(raw) == element.count * row.itemsize:
        table = np.frombuffer(raw, row)
        lists = [p for p in element.properties if p.count_type]
        if all((table[f"{p.name} length"] == 3).all() for p in lists):
            scalars = {p.name: table[p.name].astype(p.type) for p in element.properties if not p.count_type}
            return scalars, {p.name: [table[p.name].astype(p.type)] for p in lists}
    stream.seek(start)
    return None


def _take(stream: BytesIO, size: int) -> bytes:
    raw = stream.read(size)
    if len(raw) < size:
        raise StopIteration
    return raw


def _ascii_rows(element: _Element, words: Iterator[str]) -> tuple[dict[str, np.ndarray], dict[str, list[np.ndarray]]]:
    scalars: dict[str, list[float]] = {p.name: [] for p in element.properties if p.count_type is None}
    lists: dict[str, list[np.ndarray]] = {p.name: [] for p in element.properties if p.count_type is not None}
    for _ in range(element.count):
        for p in element.properties:
            if p.count_type is None:
                scalars[p.name].append(float(next(words)))
            else:
                length = int(next(words))
                row = [float(next(words)) for _ in range(length)]
                lists[p.name].append(np.array(row).astype(p.type))
    types = {p.name: p.type for p in element.properties}
    return {name: np.array(values).astype(types[name]) for name, values in scalars.items()}, lists


def _as_bytes(rgb: np.ndarray) -> np.ndarray:
    """Colours as bytes: floats are taken as [0, 1]."""
    if rgb.dtype.kind == "f":
        return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def _fans(polygons: list[np.ndarray]) -> Int64[np.ndarray, "f 3"]:
    """Triangles of polygons given as rows of vertex indices, or of blocks [f, 3] of triangles."""
    triangles = []
    for polygon in polygons:
        if polygon.ndim == 2:
            triangles.append(polygon)
        else:
            triangles += [polygon[[0, i, i + 1]][None] for i in range(1, len(polygon) - 1)]
    return np.concatenate(triangles).astype(np.int64) if triangles else np.zeros((0, 3), np.int64)
