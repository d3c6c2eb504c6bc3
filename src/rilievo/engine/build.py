"""From settings to parts: the one place where a config's numbers become encodings, networks and grids."""

from __future__ import annotations

import torch

from rilievo.engine.settings import BackgroundConfig, HashGridConfig, MlpConfig, OccupancyConfig
from rilievo.fields.encoding import CoarseToFine, Encoding, ProgressiveLevels
from rilievo.fields.hash_grid import HashGrid
from rilievo.fields.mlp import MLP
from rilievo.fields.occupancy import OccupancyGrid
from rilievo.fields.radiance import RadianceField
from rilievo.fields.radiance_volume import RadianceVolume
from rilievo.ops.hash_encode import HashGridSpec
from rilievo.ops.ray_march.schedule import background_march


def hash_grid(config: HashGridConfig, generator: torch.Generator) -> Encoding:
    """A hash grid, its levels opening one by one where the config says so."""
    grid = HashGrid(
        HashGridSpec(config.levels, config.features, config.log2_table, config.base, config.growth), generator
    )
    if config.start_level is None:
        return grid
    return ProgressiveLevels(grid, CoarseToFine(config.start_level, update_steps=config.update_steps))


def occupancy_grid(config: OccupancyConfig, *, unbounded: bool = False) -> OccupancyGrid:
    """An occupancy grid of the region, or of all of space."""
    return OccupancyGrid(config.resolution, config.threshold, config.decay, ball=unbounded)


def radiance(config: MlpConfig, feature_dim: int, *, with_normals: bool, generator: torch.Generator) -> RadianceField:
    return RadianceField(
        feature_dim, with_normals=with_normals, width=config.width, hidden_layers=config.hidden, generator=generator
    )


def background(config: BackgroundConfig, radius: float, generator: torch.Generator) -> RadianceVolume:
    """The world beyond the ball of `radius`, contracted, with steps that grow with distance."""
    march = background_march(config.samples_per_ray, config.near, config.far)
    encoding = hash_grid(config.grid, generator)
    return RadianceVolume(
        encoding,
        MLP(
            encoding.output_dim,
            config.features,
            width=config.density.width,
            hidden_layers=config.density.hidden,
            generator=generator,
        ),
        radiance(config.color, config.features, with_normals=False, generator=generator),
        occupancy_grid(config.occupancy, unbounded=True),
        contraction="unbounded_sphere",
        radius=radius,
        step=march.step,
        cone_angle=march.cone_angle,
    )
