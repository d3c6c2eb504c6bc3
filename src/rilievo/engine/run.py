"""A finished or half-finished run, opened again: its scene, its config and its model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rilievo.data.scene import Scene
from rilievo.engine.fit import accelerator
from rilievo.engine.method import Artifact, Method, Model, available
from rilievo.engine.workspace import Workspace
from rilievo.errors import clear


@dataclass(frozen=True)
class Run:
    """What `fit` left in a folder. The model is loaded when first asked for."""

    workspace: Workspace
    method: Method
    config: Any
    device: str

    @property
    def moves(self) -> bool:
        """Whether the model shows another picture at another time."""
        return Artifact.MOTION in self.method.gives

    @cached_property
    def scene(self) -> Scene:
        """The capture in the normalised world, where the model lives."""
        return self.workspace.scene.normalised()

    @cached_property
    def model(self) -> Model:
        """The model of the last checkpoint. Raises `UserError` when there is none, or it cannot be read."""
        checkpoint = self.workspace.latest_checkpoint()
        if checkpoint is None:
            raise clear(
                str(self.workspace.folder), expected="a checkpoint", got="none yet", do="fit it first, or --resume it"
            )
        model = self.method.load(self.config, self.scene, checkpoint)
        return model.to(accelerator(self.device))  # type: ignore[attr-defined]  # each is a torch module, too


def open_run(folder: str | Path, device: str = "auto") -> Run:
    """Open a run folder. Raises `UserError` for a folder that is none, an unknown method, or a damaged config."""
    workspace = Workspace.open(folder)
    name = workspace.record.method
    if name not in available():
        known = ", ".join(available())
        raise clear(str(workspace.config_path), expected=f"a method among {known}", got=name, do="update rilievo")
    method = available()[name]
    return Run(workspace, method, workspace.config(type(method.presets["fast"])), device)
