"""Optical flow on disk: Middlebury `.flo`, KITTI's 16-bit PNG, and NumPy archives; the only reader of each.

A flow is float32 [h, w, 2]: (u, v) = pixels to the right and down from a pixel to where its surface is seen in the
other frame. `valid` marks the pixels whose flow is known.

* `.flo`: the float 202021.25, int32 width and height, then u, v interleaved row by row, all little endian (Baker et
  al. 2011). Nothing is said of validity; lengths above 10⁹ mean unknown there.
* KITTI: red = 64 u + 2¹⁵, green = 64 v + 2¹⁵, blue = validity (Geiger et al. 2013), so 1/64 px and ±512 px at most.
* `.npz`: `flow`, and `mask` [h, w] or `visible` (bits along the width, packed by `numpy.packbits`), where there is one.
* `.npy`: the flow alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float32

from rilievo.errors import UserError, clear
from rilievo.io.atomic import replacing

FLO_TAG = np.float32(202021.25)
FLO_UNKNOWN = 1e9
KITTI_SCALE, KITTI_ZERO = 64.0, 2.0**15
MAX_SIDE = 99_999
"""A larger width or height in a header means that the file is something else."""


@dataclass(frozen=True)
class FlowFile:
    """What a flow file holds."""

    flow: Float32[np.ndarray, "h w 2"]
    valid: Bool[np.ndarray, "h w"]
    """True everywhere where the format has no say."""


def read_flow(path: Path, *, size_px: tuple[int, int] | None = None) -> FlowFile:
    """Read a flow by its suffix: .flo, .png, .npz or .npy.

    Raises `UserError` naming the file when it is missing, damaged, of another kind, or not of `size_px` (width,
    height) where that is given.
    """
    readers = {".flo": _read_flo, ".png": _read_kitti, ".npz": _read_npz, ".npy": _read_npy}
    if path.suffix.lower() not in readers:
        raise clear(
            f"flow {path}", expected=".flo, .png, .npz or .npy", got=path.suffix or "no suffix", do="convert it"
        )
    try:
        flow, valid = readers[path.suffix.lower()](path)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        raise _unreadable(path, str(error) or type(error).__name__) from error
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise _unreadable(path, f"an array of shape {flow.shape}")
    size = (flow.shape[1], flow.shape[0])
    if size_px is not None and size != size_px:
        raise clear(
            f"flow {path}",
            expected=f"the size of its frame, {size_px[0]}x{size_px[1]} pixels",
            got=f"{size[0]}x{size[1]}",
            do="compute the flow at the size of the frames, or resize it with rilievo.flow.resize_flow",
        )
    if valid is None:
        valid = np.ones(flow.shape[:2], dtype=bool)
    if valid.shape != flow.shape[:2]:
        raise _unreadable(path, f"a mask of shape {valid.shape} for a flow of shape {flow.shape}")
    flow = np.ascontiguousarray(flow, dtype=np.float32)
    valid = valid.astype(bool) & np.isfinite(flow).all(-1) & (np.abs(flow) < FLO_UNKNOWN).all(-1)
    return FlowFile(np.where(valid[..., None] | np.isfinite(flow), flow, np.float32(0)), valid)


def write_flow(path: Path, flow: Float32[np.ndarray, "h w 2"], valid: Bool[np.ndarray, "h w"] | None = None) -> None:
    """Write a flow whole or not at all; the suffix names the format, as in `read_flow`.

    `.flo` and `.npy` cannot carry `valid`: unknown pixels become 10¹⁰ in the first, NaN in the second. KITTI's format
    clips at ±512 px.
    """
    known = np.ones(flow.shape[:2], dtype=bool) if valid is None else valid
    suffix = path.suffix.lower()
    with replacing(path) as temporary:
        if suffix == ".flo":
            height, width = flow.shape[:2]
            stored = np.where(known[..., None], flow, np.float32(10 * FLO_UNKNOWN))
            header = FLO_TAG.astype("<f4").tobytes() + np.array([width, height], dtype="<i4").tobytes()
            temporary.write_bytes(header + stored.astype("<f4").tobytes())
        elif suffix == ".png":
            _write_kitti(temporary, flow, known)
        elif suffix == ".npz":
            np.savez_compressed(temporary, flow=flow, mask=known)
        elif suffix == ".npy":
            np.save(temporary, np.where(known[..., None], flow, np.float32(np.nan)))
        else:
            raise clear(f"flow {path}", expected=".flo, .png, .npz or .npy", got=suffix or "no suffix", do="name one")


def _read_flo(path: Path) -> tuple[np.ndarray, None]:
    content = path.read_bytes()
    if len(content) < 12 or np.frombuffer(content, "<f4", 1)[0] != FLO_TAG:
        raise ValueError("it does not begin with the number 202021.25")
    width, height = (int(side) for side in np.frombuffer(content, "<i4", 2, offset=4))
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError(f"a header that says {width}x{height} pixels")
    if len(content) != 12 + 8 * width * height:
        raise ValueError(f"{len(content)} bytes where {width}x{height} pixels take {12 + 8 * width * height}")
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2), None


def _read_kitti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError("nothing there")
    cv2 = _opencv()
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError("a picture that is not 16-bit RGB")
    blue, green, red = np.moveaxis(pixels.astype(np.float32), -1, 0)
    return (np.stack((red, green), axis=-1) - KITTI_ZERO) / KITTI_SCALE, blue > 0


def _write_kitti(path: Path, flow: np.ndarray, valid: np.ndarray) -> None:
    cv2 = _opencv()
    coded = np.clip(np.rint(flow * KITTI_SCALE + KITTI_ZERO), 0, 2**16 - 1)
    pixels = np.stack((valid, coded[..., 1], coded[..., 0]), axis=-1).astype(np.uint16)
    if not cv2.imwrite(str(path), pixels):
        raise OSError(0, "the picture could not be written")


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with np.load(path, allow_pickle=False) as archive:
        flow = np.asarray(archive["flow"])
        if "visible" in archive.files:
            return flow, np.unpackbits(archive["visible"], axis=1)[:, : flow.shape[1]].astype(bool)
        return flow, np.asarray(archive["mask"]).astype(bool) if "mask" in archive.files else None


def _read_npy(path: Path) -> tuple[np.ndarray, None]:
    return np.load(path, allow_pickle=False), None


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise clear(
            "KITTI's 16-bit flow pictures",
            expected="OpenCV, which reads and writes them",
            got="no module cv2",
            do="pip install opencv-python-headless, or keep flow as .flo or .npz",
        ) from error
    return cv2


def _unreadable(path: Path, got: str) -> UserError:
    return clear(f"flow {path}", expected="a sound flow file", got=got, do="compute or export the flow again")
