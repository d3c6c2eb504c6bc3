"""The networks, layer by layer and as a whole, against the published ones with the same weights."""

import numpy as np
import pytest
import torch

from rilievo.pointmaps.activations import Pointmaps
from rilievo.pointmaps.network import PointmapNetwork
from rilievo.pointmaps.patches import Views

SMALL = ["model_tiny_mast3r", "model_tiny_dust3r_dpt", "model_tiny_dust3r_linear"]
SMALL += ["model_recipe_mast3r", "model_recipe_dust3r_dpt"]
FULL = ["model_recipe_full_mast3r", "model_recipe_full_dust3r_linear"]

TOKENS = {"rtol": 1e-4, "atol": 1e-4}
OPENED = {"rtol": 2e-3, "atol": 1e-4}
DESCRIPTORS = {"rtol": 0, "atol": 1e-4}
RECIPE = 1e-3
"""Relative to the largest entry."""


def stored(data, key: str) -> torch.Tensor:
    return torch.from_numpy(data[key])


def upright(data, key: str, first_only: bool = False) -> Views:
    pixels = stored(data, f"in/{key}")
    return Views.upright(pixels[:1] if first_only else pixels)


def lying(data, key: str) -> Views:
    return Views.stored_landscape(stored(data, f"in/{key}"), stored(data, f"in/{key}_true_shape_hw").long())


def all_portrait(data, key: str) -> Views:
    pixels = stored(data, f"in/{key}").mT.contiguous()
    return Views(pixels, torch.ones(len(pixels), dtype=torch.bool))


CASES = {
    "lonly0_landscape": lambda d: (upright(d, "landscape1"), upright(d, "landscape2")),
    "lonly0_portrait": lambda d: (upright(d, "portrait1"), upright(d, "portrait2")),
    "lonly0_mixed_L_P": lambda d: (upright(d, "landscape1", True), upright(d, "portrait2", True)),
    "lonly0_mixed_P_L": lambda d: (upright(d, "portrait1", True), upright(d, "landscape2", True)),
    "lonly1_mixed": lambda d: (lying(d, "mixed1"), lying(d, "mixed2")),
    "lonly1_landscape": lambda d: (upright(d, "landscape1"), upright(d, "landscape2")),
    "lonly1_portrait_transposed": lambda d: (all_portrait(d, "portrait1"), all_portrait(d, "portrait2")),
}
SYMMETRIC = {"symmetric_L_P", "lonly0_symmetrized"}


def assert_as_stored(data, prefix: str, maps: Pointmaps) -> None:
    """Every array under `prefix` is what the network says."""
    names = {"pts3d": maps.X, "pts3d_in_other_view": maps.X, "conf": maps.C, "desc": maps.D, "desc_conf": maps.Q}
    keys = [key for key in data.files if key.startswith(f"{prefix}/")]
    assert len(keys) >= 2, prefix
    for key in keys:
        name, want = key.rsplit("/", 1)[1], stored(data, key)
        if "recipe_seed" in data.files:
            close = {"rtol": RECIPE, "atol": RECIPE * float(want.abs().max())}
        else:
            close = DESCRIPTORS if name == "desc" else OPENED
        torch.testing.assert_close(names[name], want, **close, msg=lambda m, key=key: f"{key}: {m}")


@torch.no_grad()
def check_all_pairs(data, network: PointmapNetwork) -> None:
    cases = {key.split("/")[0] for key in data.files if "/view" in key} - SYMMETRIC
    assert cases
    assert cases <= set(CASES)
    for case in sorted(cases):
        answer = network(*CASES[case](data))
        assert_as_stored(data, f"{case}/view1", answer.first)
        assert_as_stored(data, f"{case}/view2", answer.second)


@torch.no_grad()
def check_layers(data, network: PointmapNetwork, first: Views, second: Views) -> None:
    depth = network.config.decoder.depth
    one, two = network.encode(first), network.encode(second)
    layers1, layers2 = network.decode(one, two, range(depth + 1))
    position = network.patch_embed.positions
    got = {"enc1": one.tokens, "enc2": two.tokens, "patch_embed1": network.patch_embed(first)}
    got |= {"pos1_yx": position(first.size_hw, first.sideways), "pos2_yx": position(second.size_hw, second.sideways)}
    got |= {f"dec1_{k}": layers1[k] for k in range(1, depth + 1)} | {"dec1_last": layers1[depth]}
    got |= {f"dec2_{k}": layers2[k] for k in range(1, depth + 1)} | {"dec2_last": layers2[depth]}
    if "inter/dpt1_raw_BCHW" in data.files:
        got["dpt1_raw_BCHW"] = network.downstream_head1.dpt(layers1, first.size_hw)
    names = [key.removeprefix("inter/") for key in data.files if key.startswith("inter/")]
    assert len(names) >= 4
    for name in names:
        want = stored(data, f"inter/{name}")
        if name == "n_decoder_outputs":
            assert len(layers1) == int(want)
        elif want.is_floating_point():
            scale = float(want.abs().max())
            close = {"rtol": RECIPE, "atol": RECIPE * scale} if "recipe_seed" in data.files else TOKENS
            torch.testing.assert_close(got[name][: len(want)], want, **close, msg=lambda m, name=name: f"{name}: {m}")
        else:
            assert torch.equal(got[name].expand_as(want), want)


@pytest.mark.golden
@pytest.mark.parametrize("name", SMALL)
def test_every_layer_is_the_published_one(open_network, name):
    data, network = open_network(name)
    check_layers(data, network, upright(data, "landscape1"), upright(data, "landscape2"))


@pytest.mark.golden
@pytest.mark.parametrize("name", SMALL)
def test_pointmaps_are_the_published_ones_in_every_mix_of_orientations(open_network, name):
    check_all_pairs(*open_network(name))


@pytest.mark.golden
@pytest.mark.parametrize("name", SMALL[:3])
def test_symmetric_answers_are_the_published_ones(open_network, name):
    data, network = open_network(name)
    with torch.no_grad():
        ab, ba = network.symmetric(upright(data, "landscape1", True), upright(data, "portrait2", True))
    for key, maps in {"r11": ab.first, "r21": ab.second, "r22": ba.first, "r12": ba.second}.items():
        found = [file for file in data.files if file.startswith(f"symmetric_L_P/{key}/")]
        for file in found:
            value = {"pts3d": maps.X, "conf": maps.C, "desc": maps.D, "desc_conf": maps.Q}[file.rsplit("/", 1)[1]]
            want = stored(data, file).reshape(value.shape)
            torch.testing.assert_close(value, want, **(DESCRIPTORS if file.endswith("/desc") else OPENED))
        assert found


@pytest.mark.golden
@pytest.mark.parametrize("name", SMALL[:3])
def test_a_batch_of_a_pair_and_its_mirror_needs_each_photo_once(open_network, name):
    data, network = open_network(name)
    seen: list[int] = []
    hook = network.patch_embed.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    with torch.no_grad():
        ab, ba = network.symmetric(upright(data, "landscape1", True), upright(data, "landscape2", True))
    hook.remove()
    assert sum(seen) == 2
    for view, (one, other) in {"view1": (ab.first, ba.first), "view2": (ab.second, ba.second)}.items():
        both = Pointmaps.mixed(one, other, torch.tensor([False, True]))
        assert_as_stored(data, f"lonly0_symmetrized/{view}", both)


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_full_size_networks_give_the_published_numbers(published, network_of, name):
    data = np.load(published / f"{name}.npz")
    network = network_of(data)
    with torch.no_grad():
        first, second = upright(data, "landscape1"), upright(data, "portrait2")
        check_layers(data, network, first, second)
        answer = network(first, second)
    assert_as_stored(data, "lonly0_mixed_L_P/view1", answer.first)
    assert_as_stored(data, "lonly0_mixed_L_P/view2", answer.second)


@pytest.mark.golden
def test_sides_that_are_no_whole_patches_are_refused(open_network):
    data, network = open_network(SMALL[2])
    views = Views.upright(stored(data, "in/landscape1")[..., :-3])
    with pytest.raises(ValueError, match="multiples of 16 px"):
        network(views, views)


@pytest.mark.golden
def test_half_precision_of_the_transformer_costs_less_than_two_percent_of_a_token(open_network):
    data, network = open_network(SMALL[0])
    views = upright(data, "landscape1"), upright(data, "landscape2")
    with torch.no_grad():
        exact = network.encode(views[0]).tokens
        with torch.autocast("cpu", torch.bfloat16):
            rough, answer = network.encode(views[0]).tokens, network(*views)
    assert rough.dtype == answer.first.X.dtype == torch.float32
    error = (rough - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert 0 < float(error.max()) < 0.02
