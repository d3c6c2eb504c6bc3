"""Walking rays through an occupancy grid: where along each ray is something worth evaluating?

Symbols: a ray is o + t d; `step` is the length Δt of an interval, growing with distance as `cone_angle` · t where
asked (instant-ngp, Müller et al. 2022, appendix E.1). The grid lives in the unit cube; a `contraction` maps the world
there:

    'box'                [-radius, radius]³ fills the cube; outside is empty
    'unbounded_sphere'   the ball of `radius` fills the central ball of the cube, and all of space beyond it the rest
                         (mip-NeRF 360, eq. 10)

`reference` is the definition. The kernels skip empty space but stay on its lattice of steps, and find the same samples.
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.errors import clear
from rilievo.ops.packed import PackedSamples

Contraction = Literal["box", "unbounded_sphere"]

SPACINGS_PER_STEP = 4  # a step must move t by several of float's spacings there, or the walk stands still


@torch.no_grad()
def march_rays(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    t_min: Float[Tensor, "rays"],
    t_max: Float[Tensor, "rays"],
    occupied: Bool[Tensor, "res res res"],
    *,
    radius: float,
    contraction: Contraction,
    step: float,
    cone_angle: float = 0.0,
    max_step: float = math.inf,
    jitter: Float[Tensor, "rays"] | None = None,
    max_samples_per_ray: int | None = None,
) -> PackedSamples:
    """Intervals of each ray whose midpoint lies in an occupied cell, near to far.

    A ray is cut into intervals of Δt = clamp(cone_angle · t, step, max_step) from t_min on, for as long as the
    midpoint is below t_max; `jitter` in [0, 1) moves the first start by that share of Δt. `occupied` is indexed
    [x, y, z]. Rays with t_min ≥ t_max give no samples; a ray stops after `max_samples_per_ray`. No gradients.

    Raises `UserError` for a step that is not positive, and for t_max so far that float cannot resolve a step there.
    """
    from rilievo.ops.ray_march import register

    _check_settings(radius, contraction, step, cone_angle, max_step, max_samples_per_ray)
    _check_rays(origins, directions, t_min, t_max, step, cone_angle, max_step)
    start = t_min
    if jitter is not None:
        start = t_min + jitter * (t_min * cone_angle).clamp(step, max_step)
    return PackedSamples(
        *register.march_rays(
            origins,
            directions,
            start,
            t_max,
            occupied,
            float(radius),
            contraction == "unbounded_sphere",
            float(step),
            float(cone_angle),
            float(max_step),
            -1 if max_samples_per_ray is None else max_samples_per_ray,
        )
    )


def _check_settings(
    radius: float,
    contraction: str,
    step: float,
    cone_angle: float,
    max_step: float,
    max_samples_per_ray: int | None,
) -> None:
    if contraction not in get_args(Contraction):
        raise clear("contraction", expected="'box' or 'unbounded_sphere'", got=repr(contraction), do="choose one")
    for name, number in (("radius", radius), ("step", step)):
        if not 0 < number < math.inf:
            raise clear(name, expected="a positive number", got=str(number), do="give it in units of the scene")
    if cone_angle < 0 or max_step < step:
        raise clear(
            "marching steps",
            expected="cone_angle ≥ 0 and max_step ≥ step",
            got=f"cone_angle={cone_angle}, step={step}, max_step={max_step}",
            do="mend the one that is wrong",
        )
    if max_samples_per_ray is not None and max_samples_per_ray < 1:
        raise clear(
            "max_samples_per_ray", expected="1 or more", got=str(max_samples_per_ray), do="or None for no limit"
        )


def _check_rays(
    origins: Tensor,
    directions: Tensor,
    t_min: Tensor,
    t_max: Tensor,
    step: float,
    cone_angle: float,
    max_step: float,
) -> None:
    dtypes = {t.dtype for t in (origins, directions, t_min, t_max)}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        raise clear(
            "rays", expected="one precision, float32 or float64", got=", ".join(map(str, dtypes)), do="convert them"
        )
    walked = t_max > t_min
    far = torch.where(walked, torch.maximum(t_max.abs(), t_min.abs()), 0).amax().item() if len(t_min) else 0.0
    last_step = min(max(far * cone_angle, step), max_step)
    if not far * torch.finfo(origins.dtype).eps * SPACINGS_PER_STEP < last_step:
        raise clear(
            "t_max",
            expected=f"a distance at which {origins.dtype} can tell steps of {last_step:g} apart",
            got=f"{far:g}",
            do="end rays at the region of interest, or give rays that miss it t_max = t_min",
        )
