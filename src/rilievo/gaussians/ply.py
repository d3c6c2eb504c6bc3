"""The point-cloud file of 3D Gaussian splatting (Kerbl et al. 2023), which viewers open.

One vertex per Gaussian with float32 properties, in this order: x y z, nx ny nz (0), f_dc_0 … 2, f_rest_0 … (channel
after channel: k red coefficients, then k green, then k blue), opacity (logit), scale_0 … 2 (logarithms), rot_0 … 3
(wxyz, of any length). Colours are those of our harmonics, whose order and signs are the file's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rilievo.errors import clear
from rilievo.gaussians.cloud import MAX_SH_DEGREE, GaussianCloud
from rilievo.io.ply import read_table, write_table

KNOWN_REST = {3 * ((degree + 1) ** 2 - 1): degree for degree in range(MAX_SH_DEGREE + 1)}


def write_gaussians(path: Path, cloud: GaussianCloud) -> None:
    """Write a cloud as it is, whole or not at all."""
    held = {name: values.detach().cpu().numpy().astype(np.float32) for name, values in cloud.items()}
    rest = held["sh_rest"].swapaxes(1, 2).reshape(len(cloud), 3 * cloud.sh_rest.shape[1])
    columns = {
        **_columns(held["means"], "x", "y", "z"),
        **dict.fromkeys(("nx", "ny", "nz"), np.zeros(len(cloud), np.float32)),
        **_numbered(held["sh_dc"], "f_dc"),
        **_numbered(rest, "f_rest"),
        "opacity": held["opacity_logits"],
        **_numbered(held["log_scales"], "scale"),
        **_numbered(held["quats"], "rot"),
    }
    write_table(path, columns)


def read_gaussians(path: Path) -> GaussianCloud:
    """Read a cloud, float32 on the CPU. Raises `UserError` for a file that is missing, damaged, or of other points."""
    table = read_table(path)
    rest = sum(name.startswith("f_rest_") for name in table)
    wanted = ["x", "y", "z", *_names("f_dc", 3), *_names("f_rest", rest), "opacity"]
    wanted += [*_names("scale", 3), *_names("rot", 4)]
    missing = [name for name in wanted if name not in table]
    if missing or rest not in KNOWN_REST:
        raise clear(
            str(path),
            expected="Gaussians with position, f_dc, f_rest of degree 0 to 3, opacity, scale and rot",
            got=f"no {', '.join(missing)}" if missing else f"{rest} f_rest properties",
            do="export it again as a 3D Gaussian splatting PLY",
        )

    def stacked(*names: str) -> Tensor:
        columns = [table[name].astype(np.float32) for name in names]
        return torch.from_numpy(np.stack(columns, axis=1) if columns else np.zeros((len(table["x"]), 0), np.float32))

    coefficients = stacked(*_names("f_rest", rest)).unflatten(1, (3, rest // 3)).mT.contiguous()
    return GaussianCloud(
        means=stacked("x", "y", "z"),
        log_scales=stacked(*_names("scale", 3)),
        quats=stacked(*_names("rot", 4)),
        opacity_logits=stacked("opacity").squeeze(1),
        sh_dc=stacked(*_names("f_dc", 3)),
        sh_rest=coefficients,
    )


def _names(stem: str, count: int) -> list[str]:
    return [f"{stem}_{i}" for i in range(count)]


def _numbered(table: np.ndarray, stem: str) -> dict[str, np.ndarray]:
    return _columns(table, *_names(stem, table.shape[1]))


def _columns(table: np.ndarray, *names: str) -> dict[str, np.ndarray]:
    return {name: table[:, i] for i, name in enumerate(names)}
