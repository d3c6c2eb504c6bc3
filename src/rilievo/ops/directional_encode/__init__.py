"""Directions as spherical harmonics, dimmed by roughness: the sums behind `shading.directional_encoding`.

For the bands l = 1, 2, 4, … 2^(degree - 1) and each order m = 0 … l a direction (x, y, z) with blur ρ gives the real
and the imaginary part of

    exp(-l (l + 1) ρ / 2) (x + iy)^m Q_l^m(z),     Q_l^m = a_lm (z Q_{l-1}^m - b_lm Q_{l-2}^m),  Q_m^m = start_m

all real parts first. `reference` is this in plain torch, band by band; the processor's kernel does a direction at a
time, and stops at bands that are dimmed below what a double can add to one. Gradients flow to directions and roughness,
once.
"""

from jaxtyping import Float
from torch import Tensor

from rilievo.ops.directional_encode import reference


def directional_encode(
    directions: Float[Tensor, "n 3"],
    roughness: Float[Tensor, "n 1"],
    a: Float[Tensor, "l m"],
    b: Float[Tensor, "l m"],
    start: Float[Tensor, "l"],
    degree: int,
) -> Float[Tensor, "n features"]:
    """Features of unit directions, in their dtype; `a`, `b` and `start` have a row for each l up to the last band."""
    blur, a, b, start = (t.to(directions) for t in (roughness, a, b, start))
    if directions.device.type != "cpu":
        return reference.directional_encode(directions, blur, a, b, start, degree)
    from rilievo.ops.directional_encode import register

    return register.directional_encode(directions, blur, a, b, start, degree)
