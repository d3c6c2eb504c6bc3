"""What a method is to the rest of the package: a name, its settings, and two doors — `run` and `load`.

Nothing here imports torch, so that listing methods and printing help stays instant.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from rilievo.cameras.camera import Cameras
    from rilievo.data.scene import Scene
    from rilievo.engine.workspace import Workspace
    from rilievo.geometry.mesh import TriMesh


class Artifact(StrEnum):
    """Things methods need and give."""

    SCENE = "scene"
    MESH = "mesh"
    RADIANCE = "radiance"
    MOTION = "motion"
    """The world at any time of a clip: the model is a `MovingModel`."""


@dataclass(frozen=True)
class Rendering:
    """What a model sees through one camera. Colours are sRGB in [0, 1], as the photos are."""

    rgb: Float[Tensor, "h w 3"]
    opacity: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"]
    """Along camera z, in the units of the frame the camera is in; 0 where nothing was hit."""
    normals: Float[Tensor, "h w 3"] | None = None
    """Unit, outward, in that frame; None for models without a surface."""
    background: Float[Tensor, "h w 3"] | None = None
    """The learned background alone, where the model has one."""


@runtime_checkable
class Model(Protocol):
    """A fitted model. It lives in the scene's normalised world, where the region of interest is the unit ball."""

    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering: ...

    def extract_mesh(self, resolution: int) -> TriMesh: ...


@runtime_checkable
class MovingModel(Model, Protocol):
    """A model that a time, in [0, 1] over the clip, makes another picture of."""

    def displacement(self, cameras: Cameras, index: int, from_time: float, to_time: float) -> Float[Tensor, "h w 3"]:
        """How far in the world what a camera sees at one time will have gone at another; 0 where nothing is seen."""


@dataclass(frozen=True)
class Method:
    """One way of turning artifacts into others; `methods/<name>/__init__.py` exposes it as `METHOD`."""

    name: str
    summary: str
    needs: frozenset[Artifact]
    gives: frozenset[Artifact]
    presets: Mapping[str, Any]
    """Preset name → a complete, frozen config dataclass; `fast` is the default, `paper` the published one, `smoke`
    for tests."""
    run: Callable[[Any, Workspace], None]
    """Fit with a config into a run folder: run(config, workspace)."""
    load: Callable[[Any, Scene, Path], Model]
    """Rebuild the fitted model: load(config, scene, checkpoint file)."""
    check: Callable[[Any, Scene], None] | None = None
    """Raise `UserError` for a config that cannot be begun with on a scene, before a run folder is written."""


@cache
def available() -> Mapping[str, Method]:
    """Every method of the package by its command-line name, in alphabetical order."""
    import rilievo.methods as package

    found = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    return {m.METHOD.name: m.METHOD for m in sorted(found, key=lambda m: m.METHOD.name)}
