"""Constructor texts are parsed, not run; what no published network has is refused."""

import json
import math

import pytest
import torch

from rilievo.pointmaps.activations import Bounded
from rilievo.pointmaps.config import NetworkConfig, Tower, parse_constructor
from rilievo.pointmaps.network import PointmapNetwork


@pytest.mark.golden
def test_names_and_shapes_are_those_of_the_published_checkpoints(published):
    models = json.loads((published / "checkpoints.json").read_text())["models"]
    assert models
    for name, model in models.items():
        trained = NetworkConfig.from_constructor(model["args_model_string_used_for_training"])
        assert trained == NetworkConfig.from_constructor(model["string_instantiated_at_load"])
        with torch.device("meta"):
            state = PointmapNetwork(trained).state_dict(keep_vars=True)
        shapes = {key: [list(t.shape), str(t.dtype).removeprefix("torch.")] for key, t in state.items()}
        assert shapes == model["state_dict"], name
        assert list(shapes) == list(model["state_dict"]), name
        assert all(state[alias] is state[key] for alias, key in model["aliased_keys"].items())
        assert len({id(t) for t in state.values()}) == len(state) - len(model["aliased_keys"])
        assert sum({id(t): t.numel() for t in state.values()}.values()) == model["n_unique_parameters"]
        if model["hooks"] is not None:
            assert list(trained.hooks) == model["hooks"]


@pytest.mark.golden
def test_hub_configs_are_understood(published):
    for hub in json.loads((published / "checkpoints.json").read_text())["hub_mixin"].values():
        arguments = json.loads(hub["config_json_text"])
        config = NetworkConfig.from_arguments({k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()})
        assert config.encoder == Tower(arguments["enc_embed_dim"], arguments["enc_depth"], arguments["enc_num_heads"])
        assert (config.descriptor_channels > 0) == ("desc" in arguments["output_mode"])
        with torch.device("meta"):
            state = PointmapNetwork(config).state_dict(keep_vars=True)
        left_out = set(hub["keys_in_state_dict_but_absent_from_safetensors"])
        assert left_out <= set(state)
        assert len(state) - len(left_out) == hub["n_safetensors_keys"]
        written_as = hub["safetensors_metadata"] or {}  # which key of the file stands for each that was left out
        assert set(written_as) == left_out
        assert all(state[alias] is state[key] for alias, key in written_as.items())


def test_constructor_is_read_without_being_run():
    name, arguments = parse_constructor("Net(a=(1, -2.5, float('inf')), b='x', c=True, d=-inf, e=None)")
    assert name == "Net"
    assert arguments == {"a": (1, -2.5, math.inf), "b": "x", "c": True, "d": -math.inf, "e": None}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch /')",
        "AsymmetricMASt3R(enc_depth=__import__('os').getpid())",
        "AsymmetricMASt3R(**{'enc_depth': 3})",
        "AsymmetricMASt3R(enc_depth=[].__class__)",
        "AsymmetricMASt3R(3)",
        "ResNet(enc_depth=3)",
        "AsymmetricMASt3R(unheard_of=3)",
        "AsymmetricMASt3R(enc_depth='many')",
        "AsymmetricMASt3R(enc_embed_dim=100, enc_num_heads=3)",
        "AsymmetricMASt3R(head_type='dpt', output_mode='pts3d+desc24')",
        "AsymmetricCroCo3DStereo(pos_embed='cosine')",
        "AsymmetricCroCo3DStereo(depth_mode=('cube', 0, 1))",
        "AsymmetricCroCo3DStereo(mlp_ratio=2)",
        "AsymmetricCroCo3DStereo(img_size='large')",
        "not python (",
        "",
    ],
)
def test_any_other_text_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match="network in the checkpoint: expected"):
        NetworkConfig.from_constructor(text)


def test_descriptors_without_a_confidence_of_their_own_borrow_the_points():
    text = "AsymmetricMASt3R(head_type='catmlp+dpt', output_mode='pts3d+desc16'{})"
    assert NetworkConfig.from_constructor(text.format("")).desc_conf_mode is None
    assert NetworkConfig.from_constructor(text.format(", two_confs=True")).desc_conf_mode == Bounded("exp", 1.0)
