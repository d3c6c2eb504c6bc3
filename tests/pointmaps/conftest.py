"""Published numbers of the two-view networks, and networks filled with the weights they were computed with."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rilievo.pointmaps.checkpoint import network_with
from rilievo.pointmaps.config import DptConfig, NetworkConfig
from rilievo.pointmaps.network import PointmapNetwork


@pytest.fixture(scope="session")
def published(shared: Path) -> Path:
    """Numeric references computed with the published MASt3R and DUSt3R."""
    return shared / "golden" / "mast3r"


def config_of(data) -> NetworkConfig:
    """The config of a stored network, through the constructor text that its checkpoint would hold."""
    stored = json.loads(str(data["config_json"]))
    if "string" in stored:
        return NetworkConfig.from_constructor(stored["string"])
    dpt = stored.pop("dpt", None)
    stored.pop("note", None)
    words = ("head_type", "output_mode", "pos_embed")
    arguments = ", ".join(f"{k}={v!r}" if k in words else f"{k}={v}" for k, v in stored.items() if k != "cls")
    config = NetworkConfig.from_constructor(f"{stored['cls']}({arguments})")
    if dpt is None:
        return config
    hooks, widths = tuple(dpt["hooks"]), tuple(dpt["layer_dims"])
    return replace(config, dpt=DptConfig(hooks, widths, dpt["feature_dim"], dpt["last_dim"]))


def recipe_tensor(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """A parameter as the recipe of the references fills it."""
    rng = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    u = rng.random_sample(int(np.prod(shape))).reshape(shape)
    u -= 0.5
    if name.endswith(".weight") and len(shape) >= 2:
        u *= np.sqrt(12 / np.prod(shape[1:])) * (0.15 if name.endswith("dpt.head.4.weight") else 1)
    elif name.endswith(".weight"):
        u = 1 + 0.5 * u
    else:
        u *= 0.2
    return torch.from_numpy(u.astype(np.float32))


def stored_network(data) -> PointmapNetwork:
    """The network of a reference file, with the weights stored there or made by its recipe."""
    config = config_of(data)
    if "recipe_seed" not in data.files:
        state = {k.removeprefix("sd/"): torch.from_numpy(data[k]) for k in data.files if k.startswith("sd/")}
        return network_with(config, state, Path("stored weights"))[0]
    with torch.device("meta"):
        wanted = PointmapNetwork(config).state_dict()
    seed = int(data["recipe_seed"])
    state = {k: recipe_tensor(k, tuple(v.shape), seed) for k, v in wanted.items() if ".layer_rn." not in k}
    return network_with(config, state, Path("recipe"))[0]


@pytest.fixture(scope="session")
def network_of():
    """Makes the network of a reference file anew: the large ones are not kept."""
    return stored_network


@pytest.fixture(scope="session")
def open_network(published: Path):
    """Reference arrays and the network they came from, by file name."""
    kept: dict[str, tuple] = {}

    def opened(name: str) -> tuple:
        if name not in kept:
            data = np.load(published / f"{name}.npz")
            kept[name] = data, stored_network(data)
        return kept[name]

    return opened
