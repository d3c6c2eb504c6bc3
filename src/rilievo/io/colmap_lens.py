"""COLMAP's camera models, and which of them are pinhole + OpenCV distortion (or its fisheye).

Parameters in COLMAP's order; the centre of the first pixel is at (0.5, 0.5) there too. The table gives the number each
model has in binary files, the names of its parameters, and whether it is a fisheye. Models that are none of ours (FOV,
THIN_PRISM_FISHEYE, …) must be undistorted first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rilievo.errors import clear

DISTORTION_ORDER = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


@dataclass(frozen=True)
class LensModel:
    """A COLMAP camera model."""

    id: int
    name: str
    parameters: tuple[str, ...]
    fisheye: bool = False


_SHARED = ("f", "cx", "cy")
_TWO = ("fx", "fy", "cx", "cy")
MODELS = (
    LensModel(0, "SIMPLE_PINHOLE", _SHARED),
    LensModel(1, "PINHOLE", _TWO),
    LensModel(2, "SIMPLE_RADIAL", (*_SHARED, "k1")),
    LensModel(3, "RADIAL", (*_SHARED, "k1", "k2")),
    LensModel(4, "OPENCV", (*_TWO, "k1", "k2", "p1", "p2")),
    LensModel(5, "OPENCV_FISHEYE", (*_TWO, "k1", "k2", "k3", "k4"), fisheye=True),
    LensModel(6, "FULL_OPENCV", (*_TWO, "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    LensModel(8, "SIMPLE_RADIAL_FISHEYE", (*_SHARED, "k1"), fisheye=True),
    LensModel(9, "RADIAL_FISHEYE", (*_SHARED, "k1", "k2"), fisheye=True),
)
FOREIGN_MODELS = {7: ("FOV", 5), 10: ("THIN_PRISM_FISHEYE", 12), 11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16)}
"""Models we cannot express: number, name and how many parameters they have."""


def model_by_name(name: str) -> LensModel:
    """Raises `UserError` for a model that is not ours."""
    for model in MODELS:
        if model.name == name:
            return model
    raise foreign(name)


def model_by_id(number: int) -> LensModel:
    """Raises `UserError` for a model that is not ours."""
    for model in MODELS:
        if model.id == number:
            return model
    raise foreign(FOREIGN_MODELS.get(number, (f"number {number}", 0))[0])


def foreign(name: str) -> Exception:
    ours = ", ".join(model.name for model in MODELS)
    return clear(
        "COLMAP camera model", expected=f"one of {ours}", got=name, do="undistort first (colmap image_undistorter)"
    )


@dataclass(frozen=True)
class Lens:
    """K in pixels, OpenCV distortion (k1 … k6, p1, p2), fisheye or not."""

    K: Float64[np.ndarray, "3 3"]
    distortion: Float64[np.ndarray, "8"]
    fisheye: bool


def lens_of(model: LensModel, parameters: Sequence[float]) -> Lens:
    """The lens that a model's parameters describe. Raises `UserError` when their number is wrong."""
    if len(parameters) != len(model.parameters):
        raise clear(
            f"COLMAP camera model {model.name}",
            expected=f"{len(model.parameters)} parameters ({', '.join(model.parameters)})",
            got=str(len(parameters)),
            do="export the model again",
        )
    named = dict(zip(model.parameters, parameters))
    fx, fy = named.get("fx", named.get("f", 0.0)), named.get("fy", named.get("f", 0.0))
    K = np.array([[fx, 0.0, named["cx"]], [0.0, fy, named["cy"]], [0.0, 0.0, 1.0]])
    return Lens(K, np.array([named.get(key, 0.0) for key in DISTORTION_ORDER]), model.fisheye)


def model_of(lens: Lens) -> tuple[LensModel, tuple[float, ...]]:
    """The simplest COLMAP model that holds a lens exactly, and its parameters. Skew has no place in any."""
    used = {key for key, value in zip(DISTORTION_ORDER, lens.distortion) if value != 0}
    if lens.fisheye:
        name = "OPENCV_FISHEYE"
    elif not used:
        name = "PINHOLE"
    else:
        name = "OPENCV" if used <= {"k1", "k2", "p1", "p2"} else "FULL_OPENCV"
    model = model_by_name(name)
    named = dict(zip(DISTORTION_ORDER, (float(value) for value in lens.distortion)))
    named |= {"fx": lens.K[0, 0], "fy": lens.K[1, 1], "cx": lens.K[0, 2], "cy": lens.K[1, 2]}
    return model, tuple(float(named[key]) for key in model.parameters)
