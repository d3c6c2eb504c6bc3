"""The published networks of the world beyond the unit sphere, from their stored weights."""

import torch

from rilievo.fields.inverted_sphere import InvertedSphereNerf


def published_nerf(stored, prefix):
    """The network whose weights are stored under a prefix, and for each of its parameters the published name."""
    weights = {k.removeprefix(prefix): stored[k] for k in stored if k.startswith(prefix)}
    layers = 1 + max(int(k.split(".")[1]) for k in weights if k.startswith("pts_linears"))
    nerf = InvertedSphereNerf(width=len(weights["pts_linears.0.bias"]), layers=layers)
    parts = {f"trunk.{k}": f"pts_linears.{k}" for k in range(layers)} | {
        "feature": "feature_linear",
        "density": "alpha_linear",
        "view": "views_linears.0",
        "color": "rgb_linear",
    }
    names = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in parts.items() for kind in ("weight", "bias")}
    nerf.load_state_dict({ours: torch.as_tensor(weights[theirs]) for ours, theirs in names.items()})
    return nerf, names
