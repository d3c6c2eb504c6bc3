"""3-D Gaussians drawn on a screen, and the way back: from a picture's gradient to every Gaussian and to the camera.

Three steps: `project_gaussians` makes ellipses on the screen of ellipsoids in the world; `rasterize_gaussians`
composites them, front to back, into a picture of any features; `rasterize_at_pixels` does so at chosen pixels alone.
`reference` is the definition, with its formulas and thresholds (Kerbl et al. 2023, arXiv:2308.04079).
`view_colors` makes the features of spherical harmonics.
Flat Gaussians that know their normals are in `surfels`.

Gradients flow to means, quaternions, scales, opacities, features, background and `cam_from_world` (all entries of its
upper three rows as if they were free; not to `K`), once; they are the same from run to run and for any number of
threads. Densification wants those of the means on the screen: call `projection.means2d.retain_grad()` before the
backward pass and read `projection.means2d.grad`, in 1/px, afterwards. (The published rasteriser reports them per half
picture: times width/2 and height/2.)

Anti-aliased rendering is `opacities * projection.compensation` in place of the opacities. Half-precision inputs are
computed in float32.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rilievo.errors import clear

BLUR_PX2 = 0.3
"""Variance added to each Gaussian on the screen, so that none falls between the pixels."""


@dataclass(frozen=True)
class Projection:
    """Gaussians on the screen. Those that are not seen, or not finite, are zero throughout; `radii` tells."""

    means2d: Float[Tensor, "n 2"]
    """In px, from the picture's upper left corner."""
    depths: Float[Tensor, "n"]
    """Of the means, along camera z."""
    conics: Float[Tensor, "n 3"]
    """Inverse covariances in px⁻²: xx, xy, yy."""
    radii: Int[Tensor, "n 2"]
    """Half extent in px, along x and y, within which a Gaussian can be seen; 0 where it is not."""
    compensation: Float[Tensor, "n"]
    """What anti-aliased rendering multiplies the opacities with."""


@dataclass(frozen=True)
class Raster:
    """A picture, or chosen pixels of one."""

    features: Float[Tensor, "*pixels c"]
    """Σ w f, plus the background times what light is left."""
    alpha: Float[Tensor, "*pixels"]
    """Σ w."""
    depth: Float[Tensor, "*pixels"]
    """Σ w depth, accumulated and not normalised."""
    median_depth: Float[Tensor, "*pixels"]
    """Depth of the last Gaussian with more than half of the light before it; 0 where there is none."""

    def expected_depth(self) -> Float[Tensor, "*pixels"]:
        """Mean depth of what is seen: Σ w depth / Σ w, 0 where nothing is."""
        return self.depth / self.alpha.clamp_min(1e-10)


def project_gaussians(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    cam_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    size_px: tuple[int, int],
    *,
    blur: float = BLUR_PX2,
    near: float = 0.01,
    far: float = math.inf,
    opacities: Float[Tensor, "n"] | None = None,
) -> Projection:
    """Ellipsoids in the world as ellipses on a screen of (width, height) pixels of a pinhole camera without skew.

    Quaternions wxyz of any length but 0; scales are standard deviations, in world units. Only depths between `near`
    and `far` are drawn. `opacities` make the radii of faint Gaussians smaller, down to 0; they change no picture.
    """
    from rilievo.ops.gaussian_rasterize import register

    _check_size(size_px)
    _same_gaussians(means, quats=quats, scales=scales, **({} if opacities is None else {"opacities": opacities}))
    means = _computable(means)
    others = (t.to(means.dtype) for t in (quats, scales, cam_from_world, K))
    opacities = None if opacities is None else opacities.detach().to(means.dtype)
    return Projection(*register.project_gaussians(means, *others, opacities, *size_px, blur, near, far))


def view_colors(
    means: Float[Tensor, "n 3"],
    eye: Float[Tensor, "3"],
    sh_dc: Float[Tensor, "n 3"],
    sh_rest: Float[Tensor, "n k 3"],
    degree: int,
) -> Float[Tensor, "n 3"]:
    """sRGB of each Gaussian as seen from a point: 0.5 + Σ_lm c_lm Y_lm, bands l up to `degree`, not below 0.

    `sh_rest` holds k = 3, 8 or 15 coefficients, of which those beyond `degree` stay unused. On the processor only.
    """
    from rilievo.ops.gaussian_rasterize import register

    _same_gaussians(means, sh_dc=sh_dc, sh_rest=sh_rest)
    if not 0 <= degree <= 3 or (degree + 1) ** 2 > sh_rest.shape[1] + 1:
        raise clear(
            "degree",
            expected="a band that the coefficients have, at most 3",
            got=f"{degree} with {sh_rest.shape[1]} coefficients beside the constant one",
            do="lower the degree, or make the cloud with more bands",
        )
    means = _computable(means)
    return register.view_colors(means, eye.detach().to(means), sh_dc.to(means), sh_rest.to(means), degree)


def rasterize_gaussians(
    means2d: Float[Tensor, "n 2"],
    conics: Float[Tensor, "n 3"],
    depths: Float[Tensor, "n"],
    radii: Int[Tensor, "n 2"],
    opacities: Float[Tensor, "n"],
    features: Float[Tensor, "n c"],
    size_px: tuple[int, int],
    background: Float[Tensor, "c"] | None = None,
) -> Raster:
    """The picture, (height, width) pixels, of projected Gaussians with opacities in [0, 1] and any features.

    Linear colour is one kind of feature; normals, flow or a constant are others. Gaussians whose radii are 0 are left
    out. Without a background, features are premultiplied: the background is black.
    """
    from rilievo.ops.gaussian_rasterize.raster import rasterize

    width, height = size_px
    _check_size(size_px)
    flat = rasterize(*_checked(means2d, conics, depths, radii, opacities, features, background), size_px, None)
    return Raster(*(field.unflatten(0, (height, width)) for field in flat))


def rasterize_at_pixels(
    means2d: Float[Tensor, "n 2"],
    conics: Float[Tensor, "n 3"],
    depths: Float[Tensor, "n"],
    radii: Int[Tensor, "n 2"],
    opacities: Float[Tensor, "n"],
    features: Float[Tensor, "n c"],
    size_px: tuple[int, int],
    pixels_px: Int[Tensor, "m 2"],
    background: Float[Tensor, "c"] | None = None,
) -> Raster:
    """`rasterize_gaussians` at the pixels (column, row) alone, in their order; a pixel may come more than once.

    Raises `UserError` for a pixel outside the picture.
    """
    from rilievo.ops.gaussian_rasterize.raster import rasterize

    _check_size(size_px)
    size = pixels_px.new_tensor(size_px)
    if len(pixels_px) and bool(((pixels_px < 0) | (pixels_px >= size)).any()):
        raise clear(
            "pixels_px",
            expected=f"columns and rows within {size_px[0]} x {size_px[1]} pixels",
            got=f"{pixels_px.amin(0).tolist()} to {pixels_px.amax(0).tolist()}",
            do="draw them inside the picture, as (column, row)",
        )
    checked = _checked(means2d, conics, depths, radii, opacities, features, background)
    return Raster(*rasterize(*checked, size_px, pixels_px.to(torch.int64)))


def _checked(
    means2d: Tensor,
    conics: Tensor,
    depths: Tensor,
    radii: Tensor,
    opacities: Tensor,
    features: Tensor,
    background: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The same tensors in one precision, with a background."""
    _same_gaussians(means2d, conics=conics, depths=depths, radii=radii, opacities=opacities, features=features)
    means2d = _computable(means2d)
    conics, depths, opacities, features = (t.to(means2d.dtype) for t in (conics, depths, opacities, features))
    channels = features.shape[1]
    background = means2d.new_zeros(channels) if background is None else background.to(means2d)
    if len(background) != channels:
        raise clear(
            "background",
            expected=f"one number per feature, {channels}",
            got=str(len(background)),
            do="give it as many channels as the features have",
        )
    return means2d, conics, depths, radii.to(torch.int32), opacities, features, background


def _check_size(size_px: tuple[int, int]) -> None:
    if min(size_px) < 1:
        raise clear("size_px", expected="at least one pixel", got=f"{size_px}", do="pass (width, height) in pixels")


def _same_gaussians(first: Tensor, **others: Tensor) -> None:
    for name, other in others.items():
        if len(other) != len(first):
            raise clear(
                name,
                expected=f"one per Gaussian, {len(first)}",
                got=str(len(other)),
                do="pass what belongs to the same cloud",
            )


def _computable(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
