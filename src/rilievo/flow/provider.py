"""Who computes optical flow: one interface, classic methods by name from the libraries that have them.

A provider takes two photographs of one size and returns float32 [h, w, 2], pixels to the right and down from the first
to the second. `dis` (dense inverse search, Kroeger et al. 2016, arXiv:1603.03590) is the default: fractions of a second
on a CPU. Learned flow has weights from a file: RAFT by torchvision (`raft`), RAFT, FlowNet and many more by PTLFlow
(`ptlflow/raft`, `ptlflow/flownet2`, …).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float32, UInt8

from rilievo.errors import clear

DEFAULT, LEARNED, PTLFLOW = "dis", "raft", "ptlflow/"

Photo = UInt8[np.ndarray, "h w 3"]
Flow = Float32[np.ndarray, "h w 2"]
FlowProvider = Callable[[Photo, Photo], Flow]
"""Flow from one photograph (sRGB) to another of the same size."""


def provider(name: str = DEFAULT, weights: Path | None = None) -> FlowProvider:
    """The provider of that name: dis, farneback, lucas-kanade, tvl1, horn-schunck, or raft and ptlflow/NETWORK, which
    need `weights`.

    Raises `UserError` for an unknown name, or when the library or the weights behind it are missing.
    """
    if name == LEARNED:
        from rilievo.flow.raft import torchvision_raft

        compute: FlowProvider = torchvision_raft(weights)
    elif name.startswith(PTLFLOW):
        from rilievo.flow.ptlflow import ptlflow_network

        compute = ptlflow_network(name.removeprefix(PTLFLOW), weights)
    elif name in PROVIDERS:
        compute = PROVIDERS[name]()
    else:
        known = " or ".join([*PROVIDERS, LEARNED, f"{PTLFLOW}NETWORK"])
        raise clear("flow method", expected=known, got=name, do=f"{DEFAULT} needs no weights")

    def checked(first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "_h _w 3"]) -> Flow:
        if first.shape != second.shape:
            raise clear(
                "flow between two photos",
                expected="photos of one size",
                got=f"{first.shape[1]}x{first.shape[0]} and {second.shape[1]}x{second.shape[0]} pixels",
                do="resize one of them",
            )
        return np.ascontiguousarray(compute(first, second), dtype=np.float32)

    return checked


def _dis() -> FlowProvider:
    cv2 = _library("cv2", "opencv-python-headless")
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)
    method.setPatchStride(3)
    return lambda first, second: method.calc(_gray(first), _gray(second), None)


def _farneback() -> FlowProvider:
    cv2 = _library("cv2", "opencv-python-headless")
    return lambda first, second: cv2.calcOpticalFlowFarneback(
        _gray(first), _gray(second), None, pyr_scale=0.5, levels=5, winsize=15, iterations=5, poly_n=7, poly_sigma=1.5,
        flags=0,
    )  # fmt: skip


def _lucas_kanade() -> FlowProvider:
    """The pyramid of Bouguet 2000 at every pixel; where a window has no texture the flow is zero."""
    cv2 = _library("cv2", "opencv-python-headless")

    def compute(first: Photo, second: Photo) -> np.ndarray:
        height, width = first.shape[:2]
        start = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
        start = start.reshape(-1, 1, 2)
        end, found, _ = cv2.calcOpticalFlowPyrLK(_gray(first), _gray(second), start, None, winSize=(15, 15), maxLevel=4)
        return np.where(found[:, None] > 0, end - start, 0).reshape(height, width, 2)

    return compute


def _tvl1() -> FlowProvider:
    registration = _library("skimage.registration", "scikit-image")
    return lambda first, second: _columns_first(registration.optical_flow_tvl1(_gray(first), _gray(second)))


def _horn_schunck() -> FlowProvider:
    """Horn & Schunck 1981, from pyoptflow."""
    library = _library("pyoptflow", "pyoptflow")
    return lambda first, second: np.stack(
        library.HornSchunck(_gray(first).astype(np.float64), _gray(second).astype(np.float64), alpha=1.0, Niter=200),
        axis=-1,
    )


PROVIDERS: Mapping[str, Callable[[], FlowProvider]] = {
    "dis": _dis,
    "farneback": _farneback,
    "lucas-kanade": _lucas_kanade,
    "tvl1": _tvl1,
    "horn-schunck": _horn_schunck,
}


def _gray(photo: Photo) -> UInt8[np.ndarray, "h w"]:
    """ITU-R 601 luma."""
    return np.rint(photo @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def _columns_first(rows_columns: np.ndarray) -> np.ndarray:
    return np.stack((rows_columns[1], rows_columns[0]), axis=-1)


def _library(module: str, package: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise clear(
            "this flow method",
            expected=f"the Python module {module}",
            got="it is not installed",
            do=f"pip install {package}, or choose another method",
        ) from error
