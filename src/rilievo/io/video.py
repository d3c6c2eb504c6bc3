"""Video files: H.264 in mp4, as every browser and player reads it; frames are 8-bit sRGB.

PyAV is an optional part, since its wheel carries x264, which is under the GPL. Importing this file without it raises
`UserError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from rilievo.errors import UserError, clear
from rilievo.io.atomic import replacing

try:
    import av
    from av.error import FFmpegError
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
    """Decode the frames of the first video stream, one at a time. Raises `UserError` when there is none to read."""
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise clear(str(path), expected="a video", got="a file without a video stream", do="give another file")
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except FFmpegError as error:
        got = error.strerror or "a damaged file"
        raise clear(str(path), expected="a video that can be decoded", got=got, do="give another file") from error


def _even(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_h _w 3"]:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
