"""Settings of the sparse alignment."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rilievo.alignment.canonical import Relief
from rilievo.alignment.depth_basis import LowRank
from rilievo.alignment.focal import FocalFrom
from rilievo.alignment.scene_state import DepthForm, Form
from rilievo.alignment.schedule import Decay
from rilievo.alignment.solve import Stage, coarse_stage, fine_stage
from rilievo.alignment.spanning_tree import TreeKind


@dataclass(frozen=True)
class SparseConfig:
    """How photos are aligned; the defaults are the published ones, but for the two trusts."""

    coarse_iterations: int = 300
    """Steps of the stage that matches points in space."""
    coarse_rate: float = 0.07
    """Its first learning rate."""
    fine_iterations: int = 300
    """Steps of the stage that matches pixels; 0 leaves it out."""
    fine_rate: float = 0.01
    """Its first learning rate."""
    decay: Decay = Decay.COSINE
    """How rates fall over a stage."""
    step: int = 8
    """Side in px of the blocks that share an anchor."""
    matching_confidence: float = 5.0
    """Pairs none of whose matches is surer than this are aligned by their pointmaps instead."""
    shared_intrinsics: bool = False
    """One focal length and principal point for all photos (one camera, one zoom)."""
    optimise_principal_point: bool = True
    """Whether the fine stage moves principal points."""
    optimise_depth: bool = True
    """Whether the fine stage moves depths."""
    focal_trust: float = 10.0
    """Weight of squared changes of log f in the fine loss. 0, as published, lets focal lengths drift by several percent
    where matches are few; 10 asks 0.025 px^½ of improvement per match for 5 % of focal length."""
    center_trust: float = 10.0
    """The same for principal points, in fractions of the image."""
    depth: DepthForm = DepthForm.ADD
    """How depth follows the focal length."""
    log_depth: bool = False
    """Solve for logarithms of depth."""
    low_rank: LowRank | None = None
    """Restrict depths to a smooth basis."""
    tree: TreeKind = TreeKind.CLUSTERS
    """How the kinematic tree is chosen."""
    relief: Relief = Relief.ANGLE
    """How depth within blocks is averaged."""
    focal_from: FocalFrom = FocalFrom.WEISZFELD
    """How first focal lengths are found."""

    @property
    def form(self) -> Form:
        return Form(self.shared_intrinsics, self.depth, self.log_depth, self.low_rank)

    @property
    def stages(self) -> list[Stage]:
        coarse = coarse_stage(self.coarse_iterations, self.coarse_rate)
        fine = fine_stage(
            self.fine_iterations,
            self.fine_rate,
            principal_point=self.optimise_principal_point,
            depth=self.optimise_depth,
            focal_trust=self.focal_trust,
            center_trust=self.center_trust,
        )
        return [replace(stage, decay=self.decay) for stage in (coarse, fine)]


def turntable() -> SparseConfig:
    """Settings for one fixed camera and an object that turns before it, with masks.

    Circular motion hardly tells a focal length from a distance, nor where the principal point is: the camera is one,
    its principal point stays, and the pointmaps' focal length is trusted.
    """
    return SparseConfig(shared_intrinsics=True, optimise_principal_point=False, focal_trust=1000.0)
