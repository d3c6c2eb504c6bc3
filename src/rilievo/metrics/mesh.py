"""How close a mesh is to a true surface.

*Accuracy* is the mean distance from samples of the mesh to the reference surface, *completeness* that from samples of
the reference to the mesh, *Chamfer* their mean; samples are uniform by area and distances are to the surface itself,
not to its samples, whose spacing would hide small errors. Lengths are in % of the radius of the smallest ball around
the reference. The *F-score* at a threshold is the harmonic mean of the shares of samples, each way, that are nearer
than it (Knapitsch et al. 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from rilievo.errors import clear
from rilievo.geometry.mesh import TriMesh
from rilievo.metrics.reference import MeshSurface, SampledSurface, read_reference

SAMPLES = 200_000


@dataclass(frozen=True)
class MeshComparison:
    """Numbers of one mesh against one reference. Percentages are of the radius of the reference's bounding ball."""

    accuracy_percent: float
    """Mean distance from the mesh to the reference."""
    completeness_percent: float
    """Mean distance from the reference to the mesh."""
    chamfer_percent: float
    """Mean of both."""
    f_score_half_percent: float
    """F-score, in [0, 1], at a threshold of 0.5 % of the radius."""
    f_score_one_percent: float
    """F-score, in [0, 1], at a threshold of 1 % of the radius."""
    normal_error_deg: float
    """Mean angle between the normals at a sample and at the surface point nearest to it, mean of both directions."""
    normal_accuracy_deg: float
    """The same, from samples of the mesh alone."""
    normal_completeness_deg: float
    """The same, from samples of the reference alone."""
    radius: float
    """Of the reference's bounding ball, in its units."""
    closed: bool
    """Whether the compared mesh has no boundary."""
    boundaries: int
    """Its boundary loops."""
    components: int
    """Its connected pieces."""
    area: float
    """Its area, in squared units of the reference."""
    area_ratio: float
    """The same by the area of the reference; NaN where that is points alone."""


def compare_meshes(
    mesh: TriMesh,
    reference: TriMesh | MeshSurface | SampledSurface | Path,
    *,
    samples: int = SAMPLES,
    generator: torch.Generator | None = None,
    oriented: bool | None = None,
) -> MeshComparison:
    """Compare a mesh with a reference in the same frame; a path is read by `read_reference`.

    `samples` are taken each way with `generator` (by default a new one, seed 0). Normals count as opposite when they
    point to opposite sides if `oriented`, and as equal if not; by default they are oriented unless the reference is an
    open sheet. Raises UserError for meshes without faces.
    """
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    if isinstance(reference, Path):
        reference = read_reference(reference)
    truth = MeshSurface(reference) if isinstance(reference, TriMesh) else reference
    found, radius = MeshSurface(mesh), truth.radius
    if not radius > 0:
        raise clear("reference surface", expected="some extent", got="a single point", do="check the reference file")
    if oriented is None:
        oriented = truth.has_sides
    ours, theirs = found.samples(samples, generator), truth.samples(samples, generator)
    to_truth, truth_normals = truth.nearest(ours.points)
    to_found, found_normals = found.nearest(theirs.points)
    normal_accuracy = _mean_angle_deg(ours.normals, truth_normals, oriented)
    normal_completeness = _mean_angle_deg(theirs.normals, found_normals, oriented)
    accuracy, completeness = (float(100 * distance.mean() / radius) for distance in (to_truth, to_found))
    return MeshComparison(
        accuracy_percent=accuracy,
        completeness_percent=completeness,
        chamfer_percent=(accuracy + completeness) / 2,
        f_score_half_percent=_f_score(to_truth, to_found, 0.005 * radius),
        f_score_one_percent=_f_score(to_truth, to_found, 0.01 * radius),
        normal_error_deg=(normal_accuracy + normal_completeness) / 2,
        normal_accuracy_deg=normal_accuracy,
        normal_completeness_deg=normal_completeness,
        radius=radius,
        closed=mesh.is_closed(),
        boundaries=mesh.boundary_loops(),
        components=mesh.components()[0],
        area=mesh.area,
        area_ratio=mesh.area / truth.area,
    )


def _f_score(to_truth: Float64[np.ndarray, "a"], to_found: Float64[np.ndarray, "b"], threshold: float) -> float:
    precision, recall = float((to_truth <= threshold).mean()), float((to_found <= threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _mean_angle_deg(a: Float64[np.ndarray, "n 3"], b: Float64[np.ndarray, "n 3"], oriented: bool) -> float:
    """Mean angle between unit vectors, or between the lines along them; by atan2, which keeps small angles."""
    cosine = (a * b).sum(axis=1)
    sine = np.linalg.norm(np.cross(a, b), axis=1)
    return float(np.degrees(np.arctan2(sine, cosine if oriented else np.abs(cosine))).mean())
