"""The second witness's part of a run: trained in a folder of its own, then asked what it saw."""

from __future__ import annotations

import torch

from rilievo.data.scene import Scene
from rilievo.engine.fit import fit
from rilievo.engine.workspace import Workspace
from rilievo.errors import clear

from .config import UdfConfig
from .coupling import Coupling
from .enclosure import enclosed
from .guide import SurfaceGuide
from .lifted import depth_pictures, seen_surface
from .witness_module import WitnessModule

FOLDER = "gaussians"
"""Of the run folder."""
FEW_POINTS = 100
"""Fewer seen points than this teach nothing."""


def coupled_gaussians(config: UdfConfig, scene: Scene, workspace: Workspace) -> Coupling:
    """Flat Gaussians of a normalised scene and what they saw; trained now, or as far as that is left to do.

    Raises `UserError` where they do not agree on any surface.
    """
    own = Workspace(workspace.folder / FOLDER)
    witness = WitnessModule(config, scene, resumed=own.latest_checkpoint() is not None)
    fit(witness, scene, witness.config.fit, own)
    witness.trainer = None  # which has done its part, and cannot be sent to other processes
    witness.model.set_step(witness.config.fit.steps)
    lift = config.gaussians.lift
    pictures = depth_pictures(witness.model, witness.sampler)
    seen = seen_surface(pictures, lift)
    if len(seen.points) < FEW_POINTS:
        raise clear(
            "Gaussians trained on the photographs",
            expected=f"at least {FEW_POINTS} points that several of their views agree on",
            got=str(len(seen.points)),
            do="check cameras and masks, train longer with --gaussians.steps, or use --gaussians.use off",
        )
    inside = torch.zeros_like(seen.two_sided)
    if config.gaussians.insides == "auto":
        inside = enclosed(seen, pictures, lift.cell)
    return Coupling(config, witness, SurfaceGuide(seen, lift.cell, inside))
