"""Settings that methods share which see a signed distance as a volume: NeuS, and what builds on it. No torch here, so
configs import at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rilievo.engine.schedules import Constant, Schedule
from rilievo.engine.settings import (
    BackgroundConfig,
    FitConfig,
    HashGridConfig,
    MlpConfig,
    OccupancyConfig,
    OptimConfig,
)
from rilievo.stretch import Step


@dataclass(frozen=True)
class DistanceLosses:
    """Weights of the losses; those at zero are not computed."""

    rgb_mse: Schedule = Constant(10.0)
    """Squared colour error."""
    rgb_l1: Schedule = Constant(0.0)
    """Absolute colour error."""
    eikonal: Schedule = Constant(0.1)
    """Gradient of length one."""
    mask: Schedule = Constant(0.1)
    """Opacity equal to the object mask; unused without object masks."""
    opaque: Schedule = Constant(0.0)
    """Opacity near 0 or 1."""
    sparsity: Schedule = Constant(0.0)
    """Little surface."""
    sparsity_scale: float = 1.0
    """How near to the surface sparsity looks."""
    curvature: Schedule = Constant(0.0)
    """Little bending; costs six evaluations per sample."""
    distortion: Schedule = Constant(0.0)
    """Weights gathered along each ray."""
    distortion_bg: Schedule = Constant(0.0)
    """The same for the learned background."""


@dataclass(frozen=True)
class DistanceConfig:
    """A distance field in the unit ball, its colours, and what lies behind."""

    fit: FitConfig
    """Training."""
    optim: OptimConfig
    """Optimiser."""
    losses: DistanceLosses
    """Weights of the losses."""
    grid: HashGridConfig
    """Hash grid of the distance field."""
    network: MlpConfig = MlpConfig()
    """Network of the distance field."""
    features: int = 13
    """Channels handed from shape to colour, the distance among them."""
    color: MlpConfig = MlpConfig(hidden=2)
    """Colour network."""
    sphere_radius: float = 0.5
    """The ball that training starts from, in region radii."""
    gradient: Literal["analytic", "finite_difference"] = "analytic"
    """How normals are computed."""
    difference_step: float | None = 1e-3
    """Step of finite differences, in region radii; left out, the side of the finest hash cell shown so far."""
    samples_per_ray: int = 1024
    """Steps across the region's diagonal, were all of it occupied; no step is shorter."""
    step_per_width: float = 0.0
    """Longer steps while the surface is soft: this share of its width 1/inv_s. 0 for the shortest always."""
    cos_anneal_steps: Step = 20000
    """Steps until a surface seen from behind stops counting."""
    sharpness: float = 0.3
    """Start of v in 1/s = exp(10 v)."""
    max_inv_s: float | None = None
    """Cap on 1/s, so that late training cannot sharpen faster than wished; none when left out."""
    cap_start: Step = 1000
    """Step at which the cap starts, from the sharpness of that moment."""
    cap_reach: Step = 5000
    """Step at which the cap has risen to `max_inv_s`."""
    occupancy: OccupancyConfig = OccupancyConfig()
    """Grid that skips empty space."""
    eikonal_points: int = 0
    """Points anywhere in the region, besides those on rays, at which the gradient is held to length one."""
    background: Literal["auto", "none", "learned"] = "auto"
    """What is behind the region: a learned volume, or one colour; auto learns it where no object masks cut it away."""
    background_color: Literal["random", "white"] = "random"
    """The colour, during training, behind objects that were cut out."""
    outside: BackgroundConfig = BackgroundConfig()
    """The learned background."""
