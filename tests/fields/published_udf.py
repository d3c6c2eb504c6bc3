"""The published unsigned distance network, from its stored weights."""

import torch

from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.skip_mlp import SkipMLP
from rilievo.fields.udf import UdfField, UdfKind

FREQUENCIES = 6


def published_udf_network(fixture, prefix, kind=UdfKind.ABS, scale=1.0):
    weights = {k.removeprefix(prefix + "/lin"): torch.from_numpy(fixture[k]) for k in fixture.files if prefix in k}
    weights = {k: v for k, v in weights.items() if k[0].isdigit()}
    layers = 1 + max(int(k.split(".")[0]) for k in weights)
    encoding = CompositeEncoding(FrequencyEncoding(FREQUENCIES), scale=1.0, offset=0.0)
    sizes = [len(weights[f"{k}.bias"]) for k in range(layers)]
    skip_in = tuple(k for k in range(1, layers) if weights[f"{k}.weight_v"].shape[1] != sizes[k - 1])
    network = SkipMLP(encoding.output_dim, sizes[-1], width=sizes[0], hidden_layers=layers - 1, skip_in=skip_in)
    network.load_state_dict({f"layers.{k}": v for k, v in weights.items()})
    return UdfField(encoding, network, kind=kind, scale=scale, distance_scale=1 / scale)
