"""A cloud in a tenth to a quarter of its PLY: numbers rounded to as many bits as pictures show, sorted, deflated.

Positions get 16 bits an axis, after x ↦ asinh(x / r) with r the median distance from the median position, so that a far
background costs the detail nothing; Gaussians lie in Morton order, which makes neighbouring numbers alike. Scales and
opacities get 8 bits of their logarithms and logits, orientations 8 bits for each of the three smaller parts of the unit
quaternion, colours 8 bits, and the other coefficients 8 bits of what remains after x ↦ sign(x) √|x|, because nearly all
are small. A file is a NumPy .npz archive of plain arrays with the ranges beside them.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8, UInt16
from torch import Tensor

from rilievo.errors import clear
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.io.atomic import replacing

FORMAT = 1
LOGIT_LIMIT = 12.0
"""Opacity logits beyond are as good as 0 and 1."""
PARTS = {"means", "log_scales", "opacity_logits", "sh_dc", "sh_rest"}


def write_compact(path: Path, cloud: GaussianCloud) -> None:
    """Write a cloud, whole or not at all. Raises `UserError` for numbers that are not finite."""
    held = {name: values.detach().cpu().double().numpy() for name, values in cloud.items()}
    if not all(np.isfinite(values).all() for values in held.values()):
        raise clear("cloud to write", expected="finite numbers", got="NaN or infinity", do="remove such Gaussians")
    center = np.median(held["means"], axis=0) if len(cloud) else np.zeros(3)
    away = held["means"] - center
    unit = max(float(np.median(np.linalg.norm(away, axis=1))), 1e-12) if len(cloud) else 1.0
    held["means"] = np.arcsinh(away / unit)
    held["opacity_logits"] = held["opacity_logits"].clip(-LOGIT_LIMIT, LOGIT_LIMIT)
    held["sh_rest"] = np.sign(held["sh_rest"]) * np.sqrt(np.abs(held["sh_rest"]))
    codes, ranges = {}, {}
    for name in sorted(PARTS):
        codes[name], ranges[f"{name}_range"] = _quantised(held[name], np.uint16 if name == "means" else np.uint8)
    codes["quats"], codes["largest"] = _smallest_three(held["quats"])
    order = np.argsort(_morton(codes["means"]), kind="stable")
    arrays = {name: np.ascontiguousarray(code[order]) for name, code in codes.items()} | ranges
    arrays |= {"format": np.array(FORMAT), "center": center, "unit": np.array(unit)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_compact(path: Path) -> GaussianCloud:
    """Read a cloud, float32 on the CPU. Raises `UserError` for a file that is missing, damaged, or something else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise clear(str(path), expected="a compact cloud", got="no such file", do="check the path") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _foreign(path) from error
    needed = {"format", "center", "unit", "quats", "largest"} | PARTS | {f"{name}_range" for name in PARTS}
    if needed - held.keys() or int(held["format"]) != FORMAT:
        raise _foreign(path)
    found = {name: _restored(held[name], held[f"{name}_range"]) for name in PARTS}
    found["means"] = np.sinh(found["means"]) * float(held["unit"]) + held["center"]
    found["sh_rest"] = np.sign(found["sh_rest"]) * found["sh_rest"] ** 2
    found["quats"] = _from_smallest_three(held["quats"], held["largest"])
    return GaussianCloud(**{name: _tensor(values) for name, values in found.items()})


def _quantised(values: np.ndarray, kind: type[np.unsignedinteger]) -> tuple[np.ndarray, Float64[np.ndarray, "2 *row"]]:
    """Codes of equal steps between the least and the greatest value of each column, and that range."""
    if not len(values):
        return values.astype(kind), np.zeros((2, *values.shape[1:]))
    low, high = values.min(axis=0), values.max(axis=0)
    step = np.where(high > low, high - low, 1.0) / np.iinfo(kind).max
    return np.rint((values - low) / step).astype(kind), np.stack((low, high))


def _restored(codes: np.ndarray, bounds: Float64[np.ndarray, "2 *row"]) -> np.ndarray:
    low, high = bounds
    return low + codes.astype(np.float64) / np.iinfo(codes.dtype).max * (high - low)


def _smallest_three(
    quats: Float64[np.ndarray, "n 4"],
) -> tuple[UInt8[np.ndarray, "n 3"], UInt8[np.ndarray, "n"]]:
    """The parts of the unit quaternion but its largest, which follows from them and is made positive."""
    unit = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    largest = np.abs(unit).argmax(axis=1)
    unit = unit * np.where(np.take_along_axis(unit, largest[:, None], 1) < 0, -1, 1)
    others = (largest[:, None] + np.arange(1, 4)) % 4
    parts = np.take_along_axis(unit, others, 1) * np.sqrt(2)  # none of them exceeds √½
    return np.rint((parts + 1) * 127.5).clip(0, 255).astype(np.uint8), largest.astype(np.uint8)


def _from_smallest_three(
    parts: UInt8[np.ndarray, "n 3"], largest: UInt8[np.ndarray, "n"]
) -> Float64[np.ndarray, "n 4"]:
    three = (parts / 127.5 - 1) / np.sqrt(2)
    quats = np.empty((len(parts), 4))
    index = largest.astype(np.int64)[:, None]
    np.put_along_axis(quats, (index + np.arange(1, 4)) % 4, three, 1)
    np.put_along_axis(quats, index, np.sqrt(np.maximum(1 - (three**2).sum(1, keepdims=True), 0)), 1)
    return quats


def _morton(codes: UInt16[np.ndarray, "n 3"]) -> Int64[np.ndarray, "n"]:
    """The 48 bits of the three axes, interleaved."""
    order = np.zeros(len(codes), np.int64)
    for bit in range(16):
        for axis in range(3):
            order |= ((codes[:, axis].astype(np.int64) >> bit) & 1) << (3 * bit + axis)
    return order


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _foreign(path: Path) -> Exception:
    return clear(str(path), expected="a compact cloud of rilievo", got="a damaged or foreign file", do="write it again")
