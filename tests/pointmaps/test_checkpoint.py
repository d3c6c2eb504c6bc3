"""Weights come in from both published layouts, safely; what is wrong with a file is said in one sentence."""

import argparse
import json
import os
import pickle
import sys

import pytest
import torch

from rilievo.errors import UserError
from rilievo.pointmaps.checkpoint import fingerprint, load_network, network_with
from rilievo.pointmaps.config import NetworkConfig
from rilievo.pointmaps.network import PointmapNetwork

TEXT = (
    "AsymmetricMASt3R(enc_embed_dim=8, enc_depth=1, enc_num_heads=1, dec_embed_dim=8, dec_depth=2, dec_num_heads=2, "
    "head_type='catmlp+dpt', output_mode='pts3d+desc4', two_confs=True, pos_embed='RoPE100', img_size=(512, 512), "
    "depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), desc_conf_mode=('exp', 0, inf), "
    "patch_embed_cls='ManyAR_PatchEmbed')"
)
LINEAR = (
    "AsymmetricCroCo3DStereo(enc_embed_dim=8, enc_depth=1, enc_num_heads=1, dec_embed_dim=8, dec_depth=2, "
    "dec_num_heads=2, head_type='linear', output_mode='pts3d', img_size=224)"
)
ARGUMENTS = {
    "enc_embed_dim": 8, "enc_depth": 1, "enc_num_heads": 1, "dec_embed_dim": 8, "dec_depth": 2, "dec_num_heads": 2,
    "head_type": "linear", "output_mode": "pts3d", "img_size": [224, 224], "depth_mode": ["exp", -1e999, 1e999],
    "conf_mode": ["exp", 1, 1e999], "landscape_only": False, "freeze": "none",
}  # fmt: skip


def random_state(text: str, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return PointmapNetwork(NetworkConfig.from_constructor(text)).state_dict()


def same(network: PointmapNetwork, state: dict[str, torch.Tensor]) -> bool:
    got = network.state_dict()
    return set(got) == set(state) and all(torch.equal(got[name], tensor) for name, tensor in state.items())


@pytest.fixture(scope="module")
def tiny_state() -> dict[str, torch.Tensor]:
    return random_state(LINEAR)


@pytest.mark.parametrize("zipped", [True, False])
def test_official_layout_is_read_with_its_namespace(tmp_path, tiny_state, zipped):
    path = tmp_path / "DUSt3R_ViTLarge_tiny.pth"
    content = {"args": argparse.Namespace(model=LINEAR, lr=1e-4, dist=False), "model": tiny_state, "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    loaded = load_network(path)
    assert same(loaded.network, tiny_state)
    assert not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())
    assert "CC BY-NC-SA" in loaded.licence


def test_hub_layout_is_read_and_tied_again(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    state = random_state(TEXT)
    kept = {name: t.clone() for name, t in state.items() if ".layer_rn." not in name}
    network, ignored = network_with(NetworkConfig.from_constructor(TEXT), kept, tmp_path)
    assert same(network, state)
    assert ignored == ()
    scratch = network.downstream_head1.dpt.scratch
    assert scratch.layer_rn[2].weight is scratch.layer3_rn.weight

    linear = random_state(LINEAR)
    safetensors.save_file(linear, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(ARGUMENTS))
    assert same(load_network(tmp_path).network, linear)
    assert same(load_network(tmp_path / "model.safetensors").network, linear)


def test_croco_checkpoints_lend_their_decoder_to_both_sides(tmp_path, tiny_state):
    half = {name: t for name, t in tiny_state.items() if not name.startswith("dec_blocks2.")}
    network, _ = network_with(NetworkConfig.from_constructor(LINEAR), half, tmp_path)
    assert torch.equal(network.dec_blocks2[1].mlp.fc1.weight, tiny_state["dec_blocks.1.mlp.fc1.weight"])


def test_weights_are_mapped_not_copied(tmp_path, tiny_state):
    network, ignored = network_with(
        NetworkConfig.from_constructor(LINEAR), tiny_state | {"prediction_head.weight": torch.zeros(1)}, tmp_path
    )
    assert network.enc_norm.weight.data_ptr() == tiny_state["enc_norm.weight"].data_ptr()
    assert ignored == ("prediction_head.weight",)


class Malicious:
    """Unpickling it would make a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_never_run(tmp_path, tiny_state, zipped):
    trap, path = tmp_path / "trap", tmp_path / "evil.pth"
    args = argparse.Namespace(model=LINEAR, extra=Malicious(str(trap)))
    torch.save({"args": args, "model": tiny_state}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="wants code to be run"):
        load_network(path)
    assert not trap.exists()


def spoilt(tmp_path, tiny_state, kind: str):
    path, args = tmp_path / "w.pth", argparse.Namespace(model=LINEAR)
    first = next(iter(tiny_state))
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("not weights at all")
        case "plain pickle":
            path.write_bytes(pickle.dumps({"a": 1}, protocol=2))
        case "no args":
            torch.save({"model": tiny_state}, path)
        case "flat":
            torch.save(tiny_state, path)
        case "a list":
            torch.save([1, 2], path)
        case "incomplete":
            torch.save({"args": args, "model": {k: v for k, v in tiny_state.items() if k != first}}, path)
        case "misshapen":
            torch.save({"args": args, "model": tiny_state | {first: torch.zeros(1, 2)}}, path)
        case "another network":
            torch.save({"args": argparse.Namespace(model=TEXT), "model": tiny_state}, path)
        case "truncated":
            torch.save({"args": args, "model": tiny_state}, path)
            path.write_bytes(path.read_bytes()[:-2000])
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "empty", "text", "plain pickle", "no args", "flat", "a list", "incomplete", "misshapen", "another network",
        "truncated",
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_in_one_sentence_that_names_it(tmp_path, tiny_state, kind):
    path = spoilt(tmp_path, tiny_state, kind)
    with pytest.raises(UserError) as caught:
        load_network(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    if kind in ("incomplete", "misshapen"):
        assert next(iter(tiny_state)) in sentence


def test_damaged_hub_files_are_told(tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 40)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json.*no JSON"):
        load_network(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(ARGUMENTS))
    with pytest.raises(UserError, match=r"model\.safetensors.*damaged"):
        load_network(tmp_path)


def test_without_the_package_the_other_layout_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"pip install safetensors, or give the official \.pth"):
        load_network(tmp_path)


def test_fingerprints_tell_trainings_and_configs_apart(tiny_state):
    config = NetworkConfig.from_constructor(LINEAR)
    mine = fingerprint(config, tiny_state)
    assert mine == fingerprint(config, dict(reversed(tiny_state.items())))
    assert mine != fingerprint(config, random_state(LINEAR, seed=1))
    assert mine != fingerprint(NetworkConfig.from_constructor(LINEAR.replace("224", "512")), tiny_state)
