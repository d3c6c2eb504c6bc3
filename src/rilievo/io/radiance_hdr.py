"""Radiance's picture format (.hdr, .pic): linear colour, three 8-bit mantissas under one exponent (Ward 1991).

A text header, a line with the size, and rows of pixels (r, g, b, e): value = mantissa · 2^{e - 136}, black where e is
0. Rows are plain, or packed since 1991: the bytes 2, 2, width high, width low, then each of the four components as
runs (a count above 128 repeats the next byte count - 128 times, another count copies that many bytes).
Only the common orientation "-Y height +X width" (top row first) is read, and colour, not XYZ.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from rilievo.errors import UserError, clear
from rilievo.io.atomic import replacing

EXPONENT_BIAS = 136
"""128 for the exponent, 8 for the mantissa's bits."""
DARKEST = 1e-32
"""What is darker is written as black."""
PACKED_WIDTHS = range(8, 0x8000)
"""Rows of other widths are always plain."""
LONGEST_RUN, LONGEST_COPY = 127, 128


def read_hdr(path: Path) -> Float32[np.ndarray, "h w 3"]:
    """Linear colour, the top row first, as stored (an EXPOSURE line is divided out).

    Raises `UserError` naming the file when it is missing, damaged, or of another kind.
    """
    try:
        return _read(path.read_bytes())
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        got = "nothing there" if isinstance(error, FileNotFoundError) else str(error) or type(error).__name__
        raise clear(
            f"HDR {path}",
            expected="a Radiance picture (-Y height +X width, RGBE)",
            got=got,
            do="save it again as Radiance .hdr, or as OpenEXR",
        ) from error


def write_hdr(path: Path, rgb: Float32[np.ndarray, "h w 3"]) -> None:
    """Write linear colour, not negative, packed where the width allows it; whole or not at all."""
    height, width = rgb.shape[:2]
    pixels = encode_rgbe(rgb)
    rows = [_pack_row(row) if width in PACKED_WIDTHS else row.tobytes() for row in pixels]
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode()
    with replacing(path) as temporary:
        temporary.write_bytes(header + b"".join(rows))


def encode_rgbe(rgb: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 4"]:
    """Mantissas and exponent; at most 1/256 of a pixel's brightest channel is lost."""
    brightest = rgb.max(axis=-1)
    lit = brightest > DARKEST
    _, exponent = np.frexp(np.where(lit, brightest, 1))  # brightest = m 2^exponent with m in [0.5, 1)
    exponent = np.minimum(exponent, 127)
    mantissas = rgb * np.ldexp(np.float32(1), 8 - exponent)[..., None]
    pixels = np.concatenate([np.clip(mantissas, 0, 255), (exponent + 128)[..., None]], axis=-1)
    return np.where(lit[..., None], pixels, 0).astype(np.uint8)


def decode_rgbe(pixels: UInt8[np.ndarray, "h w 4"]) -> Float32[np.ndarray, "h w 3"]:
    """Inverse of `encode_rgbe`, in the middle of each step."""
    exponent = pixels[..., 3:].astype(np.int32)
    scale = np.where(exponent > 0, np.ldexp(np.float32(1), exponent - EXPONENT_BIAS), np.float32(0))
    return (pixels[..., :3].astype(np.float32) + np.float32(0.5)) * scale


def _read(content: bytes) -> Float32[np.ndarray, "h w 3"]:
    if not content.startswith((b"#?RADIANCE", b"#?RGBE")):
        raise ValueError("a file that does not begin with #?RADIANCE")
    end = content.index(b"\n\n")
    header = content[:end].decode("latin-1")
    if "FORMAT=32-bit_rle_xyze" in header:
        raise ValueError("XYZ instead of RGB")
    line_end = content.index(b"\n", end + 2)
    line = content[end + 2 : line_end].decode("latin-1")
    size = re.fullmatch(r"-Y (\d{1,5}) \+X (\d{1,5})", line.strip())
    if size is None:
        raise ValueError(f"the size line {line[:40]!r}")
    height, width = int(size[1]), int(size[2])
    rgb = decode_rgbe(_rows(np.frombuffer(content, np.uint8, offset=line_end + 1), height, width))
    exposure = float(np.prod([float(value) for value in re.findall(r"^EXPOSURE=\s*(\S+)", header, re.MULTILINE)]))
    return rgb / np.float32(exposure)


def _rows(content: UInt8[np.ndarray, "n"], height: int, width: int) -> UInt8[np.ndarray, "h w 4"]:
    if width not in PACKED_WIDTHS or tuple(content[:2]) != (2, 2) or content[2] >= 128:
        if len(content) < 4 * width * height:
            raise ValueError(f"{len(content)} bytes where {width}x{height} pixels take {4 * width * height}")
        return content[: 4 * width * height].reshape(height, width, 4)
    pixels = np.empty((height, 4, width), np.uint8)
    position = 0
    for row in pixels:
        if tuple(content[position : position + 4]) != (2, 2, width >> 8, width & 255):
            raise ValueError("a row of another width or kind")
        position = _unpack_row(content, position + 4, row)
    return pixels.transpose(0, 2, 1)


def _unpack_row(content: UInt8[np.ndarray, "n"], position: int, row: UInt8[np.ndarray, "4 w"]) -> int:
    """Fill the four components of a row; returns where the next row starts."""
    width = row.shape[1]
    for component in row:
        x = 0
        while x < width:
            count = int(content[position])
            repeat = count > 128
            count -= 128 if repeat else 0
            if count == 0 or x + count > width or (not repeat and position + 1 + count > len(content)):
                raise ValueError("a damaged run")
            taken = 1 if repeat else count
            component[x : x + count] = content[position + 1 : position + 1 + taken]
            position += 1 + taken
            x += count
    return position


def _pack_row(row: UInt8[np.ndarray, "w 4"]) -> bytes:
    width = len(row)
    packed = bytearray((2, 2, width >> 8, width & 255))
    for component in row.T:
        starts = np.flatnonzero(np.diff(component, prepend=int(component[0]) ^ 1))
        lengths = np.diff(starts, append=width)
        copied = bytearray()
        for value, length in zip(component[starts].tolist(), lengths.tolist()):
            if length < 4:  # too short for a run to save anything
                copied += bytes([value]) * length
                continue
            _flush(packed, copied)
            for begin in range(0, length, LONGEST_RUN):
                packed += bytes((128 + min(LONGEST_RUN, length - begin), value))
        _flush(packed, copied)
    return bytes(packed)


def _flush(packed: bytearray, copied: bytearray) -> None:
    for begin in range(0, len(copied), LONGEST_COPY):
        part = copied[begin : begin + LONGEST_COPY]
        packed += bytes([len(part)]) + part
    copied.clear()
