"""Published weights of the motion networks under our names."""

import re

import numpy as np
import torch

from rilievo.fields.motion import InvertibleMotion

NAMES = (
    (r"^feature_mlp\.filters\.(\d+)\.linear\.weight$", r"time.filters.\1.frequency"),
    (r"^feature_mlp\.filters\.(\d+)\.linear\.bias$", r"time.filters.\1.phase"),
    (r"^feature_mlp\.filters\.(\d+)\.(mu|gamma)$", r"time.filters.\1.\2"),
    (r"^feature_mlp\.linear\.(\d+)\.", r"time.linears.\1."),
    (r"^feature_mlp\.output_linear\.", "time.output."),
    (r"^deform_mlp\.layers1\.(\d+)\.projection\.proj\.0\.", r"layers.\1.projection."),
)
NUMBERED = (
    (r"^deform_mlp\.layers1\.(\d+)\.map_st\.0\.mlp\.(\d+)\.(.*)$", "layers.{}.steering.layers.{}.{}"),
    (r"^deform_mlp\.code_projectors\.(\d+)\.mlp\.(\d+)\.(.*)$", "layers.{}.code.layers.{}.{}"),
)


def our_name(published: str) -> str:
    for pattern, ours in NAMES:
        if re.match(pattern, published):
            return re.sub(pattern, ours, published)
    for pattern, ours in NUMBERED:
        if match := re.match(pattern, published):
            return ours.format(match[1], int(match[2]) // 2, match[3])  # activations were counted too
    raise KeyError(published)


def weights(gabor, nvp, size: str) -> dict[str, np.ndarray]:
    """Published name → array, from the two archives' state dicts."""
    found = {
        f"feature_mlp.{key.removeprefix(f'{size}/sd/')}": gabor[key]
        for key in gabor.files
        if key.startswith(f"{size}/sd/")
    }
    found |= {
        f"deform_mlp.{key.removeprefix(f'{size}/sd/')}": nvp[key] for key in nvp.files if key.startswith(f"{size}/sd/")
    }
    return found


def motion_of(published: dict[str, np.ndarray], order, *, affine=None, **options) -> InvertibleMotion:
    """Our motion with these weights, its sizes read from them."""
    ours = {our_name(name): torch.from_numpy(array) for name, array in published.items()}
    layers = [name for name in ours if name.startswith("layers.0.steering.layers.") and name.endswith("weight")]
    hidden = tuple(ours[f"layers.0.steering.layers.{k}.weight"].shape[0] for k in range(len(layers) - 1))
    projection, encoded = ours["layers.0.projection.weight"].shape
    motion = InvertibleMotion(
        order=[int(k) for k in order],
        time_width=len(ours["time.filters.0.mu"]),
        time_features=len(ours["time.output.bias"]),
        projection=projection,
        hidden=hidden,
        frequencies=(encoded - 2) // 4,
        affine=affine is not None,
        **options,
    )
    for name, array in (affine or {}).items():
        ours[f"affine.layers.{name.split('.')[1]}.{name.split('.')[-1]}"] = torch.from_numpy(array)
    shapes = {name: p.shape for name, p in motion.named_parameters()}
    motion.load_state_dict({name: array.reshape(shapes[name]) for name, array in ours.items()})
    return motion
