"""What trains a `NeusModel`."""

from __future__ import annotations

from rilievo.data.scene import Scene
from rilievo.engine.distance_module import DistanceModule

from .config import NeusConfig
from .model import NeusModel


class NeusModule(DistanceModule):
    """Trains a `NeusModel` on the training views of a normalised scene."""

    model: NeusModel
    config: NeusConfig

    def __init__(self, config: NeusConfig, scene: Scene) -> None:
        super().__init__(NeusModel(config, scene), scene, config)
