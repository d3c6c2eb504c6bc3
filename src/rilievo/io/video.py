"""Video files: H.264 in mp4, as every browser and player reads it; frames are 8-bit sRGB.

A phone stores what its sensor saw and, beside it, the matrix by which a player turns it upright (ISO 14496-12, 6.2.2):
pixel (x, y) is shown at (a x + c y, b x + d y), up to a shift. Frames are read as they are shown.

PyAV is an optional part, since its wheel carries x264, which is under the GPL. Importing this file without it raises
`UserError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Int32, UInt8

from rilievo.errors import UserError, clear
from rilievo.io.atomic import replacing

try:
    import av
    from av.error import FFmpegError
    from av.sidedata.sidedata import SideData, Type
except ImportError as error:
    raise UserError(
        "video files: expected PyAV, an optional part, got none; "
        "pip install 'rilievo[video]', or give a folder for pictures"
    ) from error


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: float = 30.0, *, crf: int = 18) -> None:
    """Encode frames of one size as they come, whole or not at all; `crf` is x264's quality, smaller is better.

    Chroma is stored at half size (yuv420p), so odd sizes are made even by repeating the last column or row.
    The index stands at the front of the file, so that playing starts before all is loaded. Raises `UserError` when
    there are no frames, the name does not end in .mp4, or the place cannot be written.
    """
    if path.suffix.lower() != ".mp4":
        raise clear(
            "video", expected="a name ending in .mp4", got=path.name, do="name it so, or give a folder for pictures"
        )
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise UserError(f"{path}: there are no frames to write; ask for at least one")
    with replacing(path) as temporary, av.open(temporary, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = _even(first).shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf)}
        for frame in chain([first], rest):
            assert frame.shape == first.shape, "frames of one video have one size"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_even(frame), format="rgb24")))
        container.mux(stream.encode())


def read_video(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Decode the frames of the first video stream, one at a time, upright.

    Raises `UserError` when there is none to read.
    """
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise clear(str(path), expected="a video", got="a file without a video stream", do="give another file")
            for frame in container.decode(video=0):
                yield _upright(frame.to_ndarray(format="rgb24"), _display_matrix(frame))
    except FFmpegError as error:
        got = error.strerror or "a damaged file"
        raise clear(str(path), expected="a video that can be decoded", got=got, do="give another file") from error


def _even(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_h _w 3"]:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _display_matrix(frame: av.VideoFrame) -> Int32[np.ndarray, "2 2"]:
    """Rows (a, b) and (c, d), in units of 1/65536; the identity where the file says nothing."""
    for data in cast("Iterable[SideData]", frame.side_data):  # whose stub takes the container for one element
        if data.type is Type.DISPLAYMATRIX:
            return np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2]
    return np.eye(2, dtype=np.int32)


def _upright(frame: UInt8[np.ndarray, "_h _w 3"], matrix: Int32[np.ndarray, "2 2"]) -> UInt8[np.ndarray, "h w 3"]:
    """The frame as it is shown, by the nearest quarter turn and mirrored where the matrix mirrors."""
    (a, b), (c, d) = matrix.tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        frame, a, d = frame.swapaxes(0, 1), c, b
    rows, columns = slice(None, None, -1 if d < 0 else 1), slice(None, None, -1 if a < 0 else 1)
    return np.ascontiguousarray(frame[rows, columns])
