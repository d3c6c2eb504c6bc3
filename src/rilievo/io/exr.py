"""OpenEXR, as far as light and depth need it: one part, scan lines, half or float channels, stored plain, ZIPS, ZIP
or PIZ.

The file is a magic number, a header of named attributes, a table of where each chunk starts, and the chunks: 1 row
(plain, ZIPS), 16 rows (ZIP) or 32 rows (PIZ) at a time, in a chunk row by row, in a row channel by channel in
alphabetic order (openexr.com, "OpenEXR File Layout"). ZIP'd bytes are first split into even and odd ones, then replaced
by differences to the one before plus 128, and only then deflated; PIZ is in `piz`. Values are linear light and may
exceed 1.

OpenCV reads such files only when an environment variable is set before it is imported, hence this reader. Tiled, deep
and multi-part files and the other compressions (RLE, PXR24, B44, B44A, DWAA, DWAB) are refused by name. Written are
plain and ZIP.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rilievo.errors import UserError, clear
from rilievo.io.atomic import replacing
from rilievo.io.piz import decode_piz

MAGIC = 20000630
TILED, DEEP, MULTI_PART = 0x200, 0x800, 0x1000
COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
PIZ = 4
ROWS_PER_CHUNK = {0: 1, 2: 1, 3: 16, PIZ: 32}
"""By compression code; what is not listed is not read."""
PIXEL_TYPES: dict[int, np.dtype] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
MAX_PIXELS = 1 << 28
"""A header that asks for more is damaged."""


@dataclass(frozen=True)
class _Channel:
    name: str
    dtype: np.dtype


def read_exr(path: Path) -> dict[str, Float32[np.ndarray, "h w"]]:
    """All channels by name, as float32, the top row first.

    Raises `UserError` naming the file when it is missing, damaged, or of a kind that is not read.
    """
    try:
        return _read(path.read_bytes())
    except (OSError, ValueError, KeyError, IndexError, struct.error, zlib.error) as error:
        if isinstance(error, UserError):
            raise
        got = "nothing there" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
        raise clear(
            f"EXR {path}",
            expected="an OpenEXR picture of scan lines, stored plain, as ZIP or as PIZ",
            got=got,
            do="save it again as single-part scan lines with ZIP compression",
        ) from error


def read_exr_rgb(path: Path) -> Float32[np.ndarray, "h w 3"]:
    """Linear red, green, blue; a picture with luminance (Y) alone is grey. Raises `UserError` as `read_exr`."""
    channels = read_exr(path)
    names = next((names for names in ("RGB", "YYY") if set(names) <= set(channels)), None)
    if names is None:
        raise clear(
            f"EXR {path}",
            expected="channels R, G, B, or Y",
            got=", ".join(channels),
            do="save the picture's colour as R, G, B",
        )
    return np.stack([channels[name] for name in names], axis=-1)


def write_exr(
    path: Path, channels: Mapping[str, Float32[np.ndarray, "h w"]], *, half: bool = False, compress: bool = True
) -> None:
    """Write channels of one size, as float32 or half, with ZIP or plain, whole or not at all."""
    names = sorted(channels)
    height, width = channels[names[0]].shape
    assert all(channels[name].shape == (height, width) for name in names), "channels of one size"
    dtype = PIXEL_TYPES[1 if half else 2]
    code = 3 if compress else 0
    rows = np.stack([np.asarray(channels[name]).astype(dtype) for name in names], axis=1)  # [h, channels, w]
    step = ROWS_PER_CHUNK[code]
    chunks = []
    for y in range(0, height, step):
        stored = raw = rows[y : y + step].tobytes()
        if compress:
            squeezed = zlib.compress(_to_differences(raw), 6)
            stored = squeezed if len(squeezed) < len(raw) else raw  # the format's rule: never larger than plain
        chunks.append(struct.pack("<ii", y, len(stored)) + stored)
    header = _header(names, 1 if half else 2, code, width, height)
    start = len(header) + 8 * len(chunks)
    offsets = start + np.cumsum([0, *(len(chunk) for chunk in chunks[:-1])])
    with replacing(path) as temporary:
        temporary.write_bytes(header + offsets.astype("<u8").tobytes() + b"".join(chunks))


def write_exr_rgb(path: Path, rgb: Float32[np.ndarray, "h w 3"], *, half: bool = False) -> None:
    """Write linear colour as channels R, G, B."""
    write_exr(path, {name: rgb[..., c] for c, name in enumerate("RGB")}, half=half)


def _read(content: bytes) -> dict[str, np.ndarray]:
    magic, version = struct.unpack_from("<ii", content)
    if magic != MAGIC:
        raise ValueError("a file that does not begin as OpenEXR does")
    for flag, kind in ((TILED, "tiles"), (DEEP, "deep data"), (MULTI_PART, "several parts")):
        if version & flag:
            raise ValueError(f"a picture with {kind}")
    attributes, position = _attributes(content, 8)
    channels = _channels(attributes["channels"])
    code = attributes["compression"][0]
    if code not in ROWS_PER_CHUNK:
        name = COMPRESSIONS[code] if code < len(COMPRESSIONS) else str(code)
        raise ValueError(f"compression {name}")
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ValueError(f"a header that says {width}x{height} pixels")
    step = ROWS_PER_CHUNK[code]
    offsets = np.frombuffer(content, "<u8", -(-height // step), position)
    planes = {channel.name: np.empty((height, width), np.float32) for channel in channels}
    row_bytes = width * sum(channel.dtype.itemsize for channel in channels)
    for offset in offsets.tolist():
        y, size = struct.unpack_from("<ii", content, offset)
        first, count = y - top, min(step, bottom + 1 - y)
        if not 0 <= first < height:
            raise ValueError(f"a chunk for row {y} outside the picture")
        stored = content[offset + 8 : offset + 8 + size]
        raw = stored if size == row_bytes * count else _unpacked(stored, code, channels, width, count)
        if len(raw) != row_bytes * count:
            raise ValueError(f"{len(raw)} bytes for {count} rows that take {row_bytes * count}")
        _spread(raw, channels, width, planes, first, count)
    return planes


def _unpacked(stored: bytes, code: int, channels: list[_Channel], width: int, count: int) -> bytes:
    """A chunk of `count` rows as it would be stored plain."""
    if code == 0:
        return stored
    if code == PIZ:
        return decode_piz(stored, count, width, [channel.dtype.itemsize // 2 for channel in channels])
    return _from_differences(zlib.decompress(stored))


def _spread(
    raw: bytes, channels: list[_Channel], width: int, planes: dict[str, np.ndarray], first: int, count: int
) -> None:
    """Cut the rows of a chunk into channels."""
    row = np.dtype([(channel.name, channel.dtype, (width,)) for channel in channels])
    rows = np.frombuffer(raw, row)
    for channel in channels:
        planes[channel.name][first : first + count] = rows[channel.name]


def _attributes(content: bytes, position: int) -> tuple[dict[str, bytes], int]:
    """Name → raw value until the empty name, and where the table of chunks starts."""
    found: dict[str, bytes] = {}
    while content[position] != 0:
        end = content.index(b"\0", position)
        name = content[position:end].decode("latin-1")
        kind_end = content.index(b"\0", end + 1)
        (size,) = struct.unpack_from("<i", content, kind_end + 1)
        position = kind_end + 5 + size
        found[name] = content[kind_end + 5 : position]
    return found, position + 1


def _channels(listed: bytes) -> list[_Channel]:
    """The channel list: name, pixel type, a byte for viewers, three of padding, and how often it is sampled."""
    channels: list[_Channel] = []
    position = 0
    while listed[position] != 0:
        end = listed.index(b"\0", position)
        kind, _, x_step, y_step = struct.unpack_from("<4i", listed, end + 1)
        name = listed[position:end].decode("latin-1")
        if (x_step, y_step) != (1, 1):
            raise ValueError(f"channel {name} at every {x_step}x{y_step}-th pixel")
        channels.append(_Channel(name, PIXEL_TYPES[kind]))
        position = end + 17
    return channels


def _header(names: list[str], kind: int, code: int, width: int, height: int) -> bytes:
    listed = b"".join(name.encode() + b"\0" + struct.pack("<4i", kind, 0, 1, 1) for name in names) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = (
        ("channels", "chlist", listed),
        ("compression", "compression", bytes([code])),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    )
    written = [
        name.encode() + b"\0" + kind_name.encode() + b"\0" + struct.pack("<i", len(value)) + value
        for name, kind_name, value in attributes
    ]
    return struct.pack("<ii", MAGIC, 2) + b"".join(written) + b"\0"


def _to_differences(raw: bytes) -> bytes:
    """Even bytes, then odd ones, each as the difference to the one before, plus 128."""
    bytes_ = np.frombuffer(raw, np.uint8)
    split = np.concatenate([bytes_[0::2], bytes_[1::2]])
    split[1:] = split[1:] - split[:-1] + np.uint8(128)
    return split.tobytes()


def _from_differences(coded: bytes) -> bytes:
    """Inverse of `_to_differences`."""
    steps = np.frombuffer(coded, np.uint8).copy()
    steps[1:] -= np.uint8(128)
    split = np.cumsum(steps, dtype=np.uint8)
    joined = np.empty_like(split)
    middle = (len(split) + 1) // 2
    joined[0::2], joined[1::2] = split[:middle], split[middle:]
    return joined.tobytes()
