"""The published networks of unsigned fields, from their stored weights."""

import torch

from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.skip_mlp import SkipMLP
from rilievo.fields.udf import UdfField, UdfKind
from rilievo.fields.udf_color import BlendingRadiance

FREQUENCIES = 6


def published_udf_network(fixture, prefix, kind=UdfKind.ABS, scale=1.0, activation="softplus"):
    weights = {k.removeprefix(prefix + "/lin"): torch.from_numpy(fixture[k]) for k in fixture.files if prefix in k}
    weights = {k: v for k, v in weights.items() if k[0].isdigit()}
    layers = 1 + max(int(k.split(".")[0]) for k in weights)
    encoding = CompositeEncoding(FrequencyEncoding(FREQUENCIES), scale=1.0, offset=0.0)
    sizes = [len(weights[f"{k}.bias"]) for k in range(layers)]
    skip_in = tuple(k for k in range(1, layers) if weights[f"{k}.weight_v"].shape[1] != sizes[k - 1])
    network = SkipMLP(
        encoding.output_dim,
        sizes[-1],
        width=sizes[0],
        hidden_layers=layers - 1,
        skip_in=skip_in,
        activation=activation,
    )
    network.load_state_dict({f"layers.{k}": v for k, v in weights.items()})
    return UdfField(encoding, network, kind=kind, scale=scale, distance_scale=1 / scale)


def published_colors(fixture, prefix, *, with_normals=False):
    """The colour networks, and for each of their parameters its published name."""
    weights = {k.removeprefix(prefix + "/"): torch.from_numpy(fixture[k]) for k in fixture.files if prefix + "/" in k}
    layers = 1 + max(int(k.removeprefix("lin").split(".")[0]) for k in weights if not k.startswith("lin_base"))
    width, views = len(weights["lin0.bias"]), len(weights[f"lin{layers - 1}.bias"]) - 3
    features = weights["lin_base0.weight_v"].shape[1] - (9 if with_normals else 3)
    frequencies = (weights["lin0.weight_v"].shape[1] - 6 - width) // 6
    field = BlendingRadiance(
        features,
        views=views,
        width=width,
        hidden_layers=layers - 1,
        frequencies=frequencies,
        with_normals=with_normals,
    )
    names = {}
    for name in weights:
        layer, kind = name.split(".")
        if not layer.startswith("lin_base"):
            names[f"seen.layers.{layer.removeprefix('lin')}.{kind}"] = name
        elif layer == f"lin_base{layers - 1}":
            names[f"base.layers.0.{kind}"] = name
        else:
            names[f"trunk.layers.{layer.removeprefix('lin_base')}.{kind}"] = name
    field.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()}, strict=False)
    assert set(names) == {name for name, _ in field.named_parameters()}
    return field, names
