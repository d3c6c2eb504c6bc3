"""The losses of a sparse alignment, in plain torch: the definition. `matches_cpu` has the same, with its gradient.

A sighting at pixel (u, v) with offset o on an anchor of depth D stands at

    x = D (1 + (o − 1) f⁰/f) ((u − c_x)/f, (v − c_y)/f, 1)       in its camera, X = R x + t in the world.

Two sightings of one point should coincide (3-D, world units) or project onto each other's pixels (2-D, px). Each
distance is weighed by the match's confidence q and tamed by the loss

    γ-loss(e) = (e + e₀)^γ − e₀^γ,   e₀ = γ^(1/(1 − γ)),

whose slope at 0 is 1 and which grows like e^γ far out (MASt3R-SfM, Duisterhof et al. 2024, arXiv:2409.19152, eq. 4, 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.alignment.problem import Matches, Regression, Sightings
from rilievo.alignment.scene_state import Geometry

NEAREST = 1e-3
"""Depth below which a projected point is taken to lie at this depth."""
FARTHEST_PIXELS = (-1000.0, 2000.0)
"""Where projections stop, so that a point beside the camera does not pull without bound."""


@dataclass(frozen=True)
class GammaLoss:
    """γ-loss; γ = 1 is the plain distance."""

    gamma: float

    @property
    def offset(self) -> float:
        """e₀, where the slope of e^γ is 1."""
        return 0.0 if self.gamma == 1 else self.gamma ** (1 / (1 - self.gamma))

    def __call__(self, distance: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return distance if self.gamma == 1 else (distance + self.offset) ** self.gamma - self.offset**self.gamma


def points_of(geometry: Geometry, sightings: Sightings) -> Float[Tensor, "s 3"]:
    """World points of sightings."""
    view = sightings.view
    in_cam = points_in_camera(geometry, sightings)
    return (geometry.R[view] @ in_cam[..., None]).squeeze(-1) + geometry.t[view]


def points_in_camera(geometry: Geometry, sightings: Sightings) -> Float[Tensor, "s 3"]:
    """Points of sightings in their own cameras' axes."""
    view = sightings.view
    z = geometry.depth[sightings.anchor] * (1 + (sightings.offset - 1) * geometry.bend[view])
    flat = (sightings.pixel - geometry.principal_point[view]) / geometry.focal[view, None]
    return z[:, None] * torch.cat((flat, torch.ones_like(flat[:, :1])), dim=-1)


def projected(geometry: Geometry, view: Tensor, points: Float[Tensor, "s 3"]) -> Float[Tensor, "s 2"]:
    """Pixels at which each of `view` sees the world points, kept finite (see NEAREST and FARTHEST_PIXELS)."""
    in_cam = (geometry.R[view].mT @ (points - geometry.t[view])[..., None]).squeeze(-1)
    f, c, z = geometry.focal[view, None], geometry.principal_point[view], in_cam[:, 2:]
    return ((f * in_cam[:, :2] + c * z) / z.clamp_min(NEAREST)).clamp(*FARTHEST_PIXELS)


def loss_3d(geometry: Geometry, sightings: Sightings, matches: Matches, loss: GammaLoss) -> Float[Tensor, ""]:
    """Mean γ-loss of the distances between matched points, weighed by confidence; 0 without matches."""
    points = points_of(geometry, sightings)
    gap = torch.linalg.vector_norm(points[matches.first] - points[matches.second], dim=-1)
    return _weighted_mean(loss(gap), matches.confidence)


def loss_2d(geometry: Geometry, sightings: Sightings, matches: Matches, loss: GammaLoss) -> Float[Tensor, ""]:
    """Mean γ-loss of the pixels by which matched points miss each other's sightings, both ways; 0 without matches."""
    points = points_of(geometry, sightings)
    here = torch.cat((matches.first, matches.second))
    there = torch.cat((matches.second, matches.first))
    pixels = projected(geometry, sightings.view[here], points[there])
    miss = torch.linalg.vector_norm(sightings.pixel[here] - pixels, dim=-1)
    return _weighted_mean(loss(miss), matches.confidence.repeat(2))


def loss_regression(
    geometry: Geometry, sightings: Sightings, regression: Regression, loss: GammaLoss
) -> Float[Tensor, ""]:
    """Mean γ-loss of the distances between sightings of weak pairs and where predictions put them; 0 without any."""
    frame = regression.frame
    target = (geometry.R[frame] @ regression.target[..., None]).squeeze(-1) + geometry.t[frame]
    gap = torch.linalg.vector_norm(points_of(geometry, sightings)[regression.sighting] - target, dim=-1)
    return _weighted_mean(loss(gap), regression.weight)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    total = weights.sum()
    return weights @ values / torch.where(total > 0, total, 1)
