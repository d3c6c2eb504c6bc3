"""One pair's result as one file: uncompressed NumPy arrays in a zip, which carries a checksum of each.

In half precision (the default) pointmaps keep 11 significant bits: depths are rounded by at most 0.05 %, a tenth or
less of what networks err, whatever their unit, because each map is first brought into float16's range by a power of
two, which rounds nothing. Confidences are rounded alike and end at 65504; NaN and infinite points stay what they are.
Positions and confidences of matches and the score are kept in single precision or better. Descriptors, by far the
largest part, are not kept: matches are what they are for.
"""

from __future__ import annotations

import zipfile
import zlib
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.io.atomic import replacing
from rilievo.matching.pair_result import Correspondences, PairPrediction, PairResult, PairScore

FORMAT = 1
"""Part of every key: files of another format are not looked at."""

TOP_EXPONENT = 14
"""The largest stored coordinate lies between 2^14 and 2^15, half of float16's range."""
HALF_MAX = 65504.0

DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a file that is cut short, overwritten or not ours raises."""


class Precision(StrEnum):
    """How exactly pointmaps and their confidences are kept."""

    HALF = "half"
    SINGLE = "single"


def write(path: Path, result: PairResult, precision: Precision = Precision.HALF) -> None:
    """Write a result whole or not at all. Raises `UserError` when the place cannot be written."""
    arrays: dict[str, np.ndarray] = {
        "xy_i": _single(result.correspondences.xy_i),
        "xy_j": _single(result.correspondences.xy_j),
        "confidence": _single(result.correspondences.confidence),
        "score": np.array(
            [result.score.mean_confidence, result.score.match_confidence, result.score.matches], dtype=np.float64
        ),
    }
    for name, prediction in (("ij", result.ij), ("ji", result.ji)):
        for view, X, C in ((1, prediction.X_1, prediction.C_1), (2, prediction.X_2, prediction.C_2)):
            if precision is Precision.HALF:
                arrays[f"{name}_X_{view}"], arrays[f"{name}_exponent_{view}"] = _halved(X)
                arrays[f"{name}_C_{view}"] = C.detach().float().clamp_max(HALF_MAX).half().cpu().numpy()
            else:
                arrays[f"{name}_X_{view}"], arrays[f"{name}_exponent_{view}"] = _single(X), np.array(0, np.int32)
                arrays[f"{name}_C_{view}"] = _single(C)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)


def read(path: Path) -> PairResult | None:
    """The result in a file, float32 on the CPU; None where the file is damaged or not there."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            score = stored["score"].tolist()
            return PairResult(
                _prediction(stored, "ij"),
                _prediction(stored, "ji"),
                Correspondences(*(torch.from_numpy(stored[part]) for part in ("xy_i", "xy_j", "confidence"))),
                PairScore(score[0], score[1], int(score[2])),
            )
    except DAMAGE:
        return None


def is_sound(path: Path) -> bool:
    """Whether the file is there and its checksums hold; it is read, but not kept in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except DAMAGE:
        return False


def _prediction(stored: np.lib.npyio.NpzFile, name: str) -> PairPrediction:
    X_1, X_2 = (
        torch.ldexp(torch.from_numpy(stored[f"{name}_X_{k}"]).float(), torch.from_numpy(stored[f"{name}_exponent_{k}"]))
        for k in (1, 2)
    )
    C_1, C_2 = (torch.from_numpy(stored[f"{name}_C_{k}"]).float() for k in (1, 2))
    return PairPrediction(X_1, C_1, X_2, C_2)


def _halved(X: Float[Tensor, "h w 3"]) -> tuple[np.ndarray, np.ndarray]:
    """The map over 2^exponent in float16, and the exponent."""
    X = X.detach().float()
    finite = X[X.isfinite()].abs()
    largest = float(finite.max()) if len(finite) else 0.0
    exponent = int(np.frexp(largest)[1]) - 1 - TOP_EXPONENT if largest > 0 else 0
    return torch.ldexp(X, torch.tensor(-exponent, device=X.device)).half().cpu().numpy(), np.array(exponent, np.int32)


def _single(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()
