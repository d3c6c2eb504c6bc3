"""Multiresolution hash encoding (instant-ngp, Müller et al. 2022, arXiv:2201.05989, section 3).

`hash_encode` interpolates learned features at every level of a grid; `hash_encode_pullback` is the transpose of its
Jacobian, written as an operator of its own because a normal is made of it and is trained through. `reference.py` is
the definition.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from . import register
from .spec import HashGridSpec, levels

__all__ = ["HashGridSpec", "hash_encode", "hash_encode_pullback", "levels"]


def hash_encode(
    x: Float[Tensor, "points 3"],
    table: Float[Tensor, "entries features"],
    spec: HashGridSpec,
    active_levels: int | None = None,
) -> Float[Tensor, "points channels"]:
    """Features of points in [0, 1]³: trilinear interpolation at every level, concatenated level by level.

    Levels from `active_levels` on give zeros, cost nothing and receive no gradient. Differentiable twice in `x` and
    `table`. A point outside the cube reads some valid row: contract points first. Raises ValueError for a table of
    another size.
    """
    _check(table, spec)
    return register.encode(x, table, *register.settings(spec, _active(spec, active_levels)))


def hash_encode_pullback(
    cotangent: Float[Tensor, "points channels"],
    x: Float[Tensor, "points 3"],
    table: Float[Tensor, "entries features"],
    spec: HashGridSpec,
    active_levels: int | None = None,
) -> Float[Tensor, "points 3"]:
    """Σ_channel cotangent · ∂hash_encode/∂x: the gradient of whatever has `cotangent` as its derivative by the
    features.

    Differentiable once in all three tensors. A cotangent in another precision, as mixed-precision training hands over,
    is converted to that of the points.
    """
    _check(table, spec)
    return register.pullback(cotangent.to(x.dtype), x, table, *register.settings(spec, _active(spec, active_levels)))


def _active(spec: HashGridSpec, active_levels: int | None) -> int:
    return spec.n_levels if active_levels is None else max(0, min(active_levels, spec.n_levels))


def _check(table: Tensor, spec: HashGridSpec) -> None:
    expected = (spec.total_entries, spec.features_per_level)
    if tuple(table.shape) != expected:
        raise ValueError(
            f"table: expected {expected} for {spec}, got {tuple(table.shape)}; size it with spec.total_entries"
        )
