"""Frames of a video that are worth aligning: those that moved since the last one, and among them the sharpest.

Sharpness is the variance of the Laplacian of a small grey picture; motion the mean shift that phase correlation finds
between small pictures (Kuglin & Hines 1975). The path of the video is cut into pieces of equal motion, one frame each.
Where the camera stands and an object turns there is no such shift, and the share of the picture that changed stands for
it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from rilievo.errors import UserError, clear
from rilievo.io.atomic import unwritable, write_text
from rilievo.sfm.photos import content_digest

SIDE = 128
"""Small pictures are this wide and high, whatever the shape of the video."""
STILL = 0.5
"""Of a small picture's pixels: less motion than this over the whole video is none."""
CHANGED = 4.0
"""Grey levels of a small picture, whose noise is averaged away to a fraction of one."""
LEAST_CHANGE = 0.005
"""Of the small picture: an object of a tenth of its height."""


def frames_of_video(path: Path, folder: Path, most: int) -> Path:
    """Write at most `most` chosen frames as PNGs into a subfolder of `folder`, which is returned; a second call finds
    them.

    Raises `UserError` when the file cannot be decoded, has no motion, or the optional video part is missing.
    """
    from rilievo.io.video import read_video

    key = hashlib.sha256(json.dumps([content_digest(path), most]).encode()).hexdigest()[:16]
    chosen = folder / key
    if (chosen / "frames.json").is_file():
        return chosen
    small = [_small(frame) for frame in read_video(path)]
    picked = set(choose_frames(small, most))
    if len(picked) < 2:
        got = "one frame" if len(small) == 1 else "frames that hardly differ"
        raise clear(str(path), expected="a moving camera or object", got=got, do="film it anew")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        chosen.mkdir(parents=True)
        for i, frame in enumerate(read_video(path)):
            if i in picked:
                Image.fromarray(frame).save(chosen / f"{i:06d}.png")
    except OSError as error:
        raise unwritable(folder, error) from error
    write_text(chosen / "frames.json", json.dumps({"frames": len(small), "chosen": sorted(picked)}))
    return chosen


def choose_frames(small: list[Float64[np.ndarray, "s s"]], most: int) -> list[int]:
    """The sharpest frame of each of at most `most` pieces of equal motion, in order."""
    if not small:
        raise UserError("video: expected frames, got none; give another file")
    steps = np.array([0.0, *(_shift(a, b) for a, b in pairwise(small))])
    path = np.cumsum(steps)
    if path[-1] < STILL:
        path = _changes(small)
    if path[-1] == 0:
        return [0]
    count = min(most, len(small))
    piece = np.minimum((path / path[-1] * count).astype(int), count - 1)
    sharpness = np.array([_sharpness(picture) for picture in small])
    return [int(max(np.flatnonzero(piece == p), key=lambda i: sharpness[i])) for p in np.unique(piece)]


def _changes(small: list[Float64[np.ndarray, "s s"]]) -> Float64[np.ndarray, "n"]:
    """How much has changed up to each picture, counted from one that differs noticeably to the next that does."""
    path, seen = np.zeros(len(small)), small[0]
    for i in range(1, len(small)):
        share = float(np.mean(np.abs(small[i] - seen) > CHANGED))
        path[i] = path[i - 1]
        if share > LEAST_CHANGE:
            path[i], seen = path[i] + share, small[i]
    return path


def _small(frame: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "s s"]:
    picture = Image.fromarray(frame).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float64)


def _sharpness(picture: Float64[np.ndarray, "s s"]) -> float:
    inner = picture[1:-1, 1:-1]
    around = picture[:-2, 1:-1] + picture[2:, 1:-1] + picture[1:-1, :-2] + picture[1:-1, 2:]
    return float(np.var(4 * inner - around))


def _shift(a: Float64[np.ndarray, "s s"], b: Float64[np.ndarray, "s s"]) -> float:
    """Length of the shift between two pictures, finer than a pixel by a parabola through the peak."""
    window = np.hanning(len(a))[:, None] * np.hanning(len(a))
    spectrum = np.fft.rfft2((a - a.mean()) * window) * np.conj(np.fft.rfft2((b - b.mean()) * window))
    peak = np.fft.irfft2(spectrum / np.maximum(np.abs(spectrum), 1e-9), s=a.shape)
    at = np.unravel_index(int(np.argmax(peak)), peak.shape)
    offset: list[float] = []
    for axis in (0, 1):
        lower, upper = list(at), list(at)
        lower[axis], upper[axis] = (at[axis] - 1) % len(a), (at[axis] + 1) % len(a)
        y0, y1, y2 = peak[tuple(lower)], peak[at], peak[tuple(upper)]
        curve = y0 - 2 * y1 + y2
        whole = (at[axis] + len(a) // 2) % len(a) - len(a) // 2
        offset.append(float(whole + (0.5 * (y0 - y2) / curve if curve < 0 else 0.0)))
    return math.hypot(*offset)
