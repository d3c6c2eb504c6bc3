"""NeRO's first-stage shading, term by term."""

import numpy as np
import pytest
import torch
from tests.shading.shipped_table import shipped_table
from torch.nn.functional import normalize

from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.mlp import MLP
from rilievo.shading.appearance import Appearance, shade
from rilievo.shading.brdf import Material
from rilievo.shading.color import linear_to_srgb
from rilievo.shading.light import LightField
from rilievo.shading.reflection import dot
from rilievo.shading.split_sum import reflectance_table

MLP_VALUE = {"atol": 1e-5, "rtol": 1e-4}
COLOR = {"atol": 2e-5, "rtol": 1e-4}
POSITION_OCTAVES, DIRECTION_OCTAVES = 8, 6
PREDICTORS = ("metallic_predictor", "roughness_predictor", "albedo_predictor")


class Published:
    """The networks of one stored configuration, and the points it was asked about."""

    def __init__(self, path, case: str) -> None:
        self.data = {key: torch.from_numpy(v) for key, v in np.load(path).items() if v.dtype.kind in "fib"}
        self.names = np.load(path)[f"{case}/backward/param/names"]
        self.case = case
        prefix = f"{case}/sd/"
        stored = {key.removeprefix(prefix): v for key, v in self.data.items() if key.startswith(prefix)}
        self.networks = {name: network(stored, name) for name in sorted({key.split(".")[0] for key in stored})}
        self.inputs = {key[3:]: v for key, v in self.data.items() if key.startswith("in/")}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.data[f"{self.case}/{name}"]

    @property
    def material(self) -> Material:
        seen = torch.cat([self.inputs["feature_vectors"], self.inputs["points"]], -1)
        metallic, roughness, albedo = (torch.sigmoid(self.networks[name](seen)) for name in PREDICTORS)
        return Material(albedo, metallic, roughness)

    @property
    def lights(self) -> LightField:
        return LightField(
            self.networks["outer_light"],
            self.networks["inner_light"],
            self.networks["inner_weight"],
            self.networks.get("human_light_predictor"),
            encode_points=embedder(POSITION_OCTAVES),
            encode_directions=embedder(DIRECTION_OCTAVES),
            from_sphere=self.networks["outer_light"].input_dim == 144,
        )

    def shaded(self) -> Appearance:
        i, material = self.inputs, self.material
        cos = dot(normalize(i["normals"], dim=-1), normalize(i["view_dirs"], dim=-1))
        table = shipped_table().around(cos, material.roughness)
        return shade(i["points"], i["normals"], i["view_dirs"], material, self.lights, table, i["human_poses"])


def embedder(octaves: int) -> CompositeEncoding:
    return CompositeEncoding(FrequencyEncoding(octaves), scale=1.0, offset=0.0)


def network(stored: dict[str, torch.Tensor], name: str) -> MLP:
    """A predictor of four weight-normalised layers, stored under the numbers 0, 2, 4, 6."""
    mlp = MLP(
        stored[f"{name}.0.weight_v"].shape[1],
        len(stored[f"{name}.6.bias"]),
        width=256,
        hidden_layers=3,
        weight_norm=True,
    )
    mlp.load_state_dict(
        {
            f"layers.{k}.{part}": stored[f"{name}.{2 * k}.{part}"]
            for k in range(4)
            for part in ("bias", "weight_g", "weight_v")
        }
    )
    return mlp


@pytest.fixture(params=["default", "human_sphere"])
def published(request, golden) -> Published:
    return Published(golden / "nero_shading.npz", request.param)


@pytest.mark.golden
def test_material_and_light_are_the_published_ones(published):
    with torch.no_grad():
        seen = published.shaded()
    for name, ours in {
        "raw/albedo": seen.material.albedo,
        "raw/metallic": seen.material.metallic,
        "raw/roughness": seen.material.roughness,
        "raw/specular_light": seen.incoming.light,
        "raw/occ_prob": seen.incoming.occlusion,
        "raw/indirect_light": seen.incoming.indirect,
        "raw/human_light_times_weight": seen.incoming.photographer,
        "raw/diffuse_light": seen.diffuse_light,
        "occ_prob_raw": seen.incoming.occlusion,
        "reflective": seen.reflected,
        "inter/specular_albedo": seen.material.f0,
        "inter/diffuse_albedo": seen.material.diffuse_albedo,
        "inter/diffuse_color": linear_to_srgb(seen.diffuse),
        "inter/diffuse_light": linear_to_srgb(seen.diffuse_light),
        "inter/specular_light": linear_to_srgb(seen.incoming.light),
        "inter/metallic": seen.material.metallic,
        "inter/roughness": seen.material.roughness,
        "inter/occ_prob": seen.incoming.occlusion.clamp(0, 1),
        "inter/indirect_light": seen.incoming.indirect,
    }.items():
        np.testing.assert_allclose(ours, published[name].expand_as(ours), **MLP_VALUE, err_msg=name)
    i = published.inputs
    cos = dot(normalize(i["normals"], dim=-1), normalize(i["view_dirs"], dim=-1))
    np.testing.assert_allclose(cos, published["raw/NoV"], atol=1e-6, rtol=1e-5)


@pytest.mark.golden
def test_color_is_the_published_one(published):
    with torch.no_grad():
        seen = published.shaded()
    np.testing.assert_allclose(seen.rgb, published["color"], **COLOR)
    reflectance = published["inter/specular_ref"]
    assert (reflectance < 1).all()
    assert (seen.reflectance - reflectance).abs().mean() < TABLE_MEAN_ERROR
    specular = reflectance * seen.incoming.light
    np.testing.assert_allclose(linear_to_srgb(specular), published["inter/specular_color"], **COLOR)
    np.testing.assert_allclose(linear_to_srgb(seen.diffuse + specular), published["color"], **COLOR)


TABLE_MEAN_ERROR = 4.4e-4
"""Of the published table as an integral, stated with it."""


@pytest.mark.golden
def test_the_photographers_light_is_the_published_one(golden):
    published = Published(golden / "nero_shading.npz", "human_sphere")
    with torch.no_grad():
        seen = published.shaded()
    times_weight = published["raw/human_light"] * published["raw/human_weight"]
    np.testing.assert_allclose(seen.incoming.photographer, times_weight, **MLP_VALUE)
    shown = linear_to_srgb(seen.incoming.photographer)
    np.testing.assert_allclose(shown, published["inter/human_light"], **MLP_VALUE)


@pytest.mark.golden
def test_networks_receive_the_published_gradients(published):
    """All within what is stated but those of roughness, which see the slope of the table: the published one is noisy by
    some 3e-5 a texel, and a slope is the difference of two over 1/256."""
    (published.shaded().rgb * published["backward/cotangent"]).sum().backward()
    norms = dict(zip(published.names.tolist(), published["backward/param/norms"].tolist()))
    prefix = f"{published.case}/backward/param/full/"
    whole = {key.removeprefix(prefix): value for key, value in published.data.items() if key.startswith(prefix)}
    assert whole
    for name, mlp in published.networks.items():
        noise = 5 if name == "roughness_predictor" else 1
        for part, parameter in mlp.named_parameters():
            _, layer, kind = part.split(".")
            key = f"{name}.{2 * int(layer)}.{kind}"
            tolerance = {"rtol": 2e-3 * noise, "atol": 1e-5}
            np.testing.assert_allclose(parameter.grad.norm(), norms.pop(key), **tolerance, err_msg=key)
            if key in whole:
                np.testing.assert_allclose(parameter.grad, whole.pop(key), **tolerance, err_msg=key)
    assert not norms
    assert not whole


@pytest.mark.golden
def test_points_features_and_normals_receive_the_published_gradients(published):
    """As a whole; normals turn n·v and features turn roughness, where the published table's noise is a share of the
    slope."""
    leaves = {key: published.inputs[key].requires_grad_() for key in ("points", "feature_vectors", "normals")}
    (published.shaded().rgb * published["backward/cotangent"]).sum().backward()
    shares = {"points": 1e-3, "feature_vectors": 0.02, "normals": 0.05}
    for key, share in shares.items():
        name = "features" if key == "feature_vectors" else key
        expected = published[f"backward/grad_{name}"]
        assert (leaves[key].grad - expected).norm() < share * expected.norm(), name


def test_a_white_room_shows_each_material_in_its_own_color():
    """Light of 1 from everywhere: the colour is the diffuse albedo and the mirror's reflectance, whatever the view."""

    def constant(value: float):
        return lambda features: torch.full((len(features), 3), value)

    lights = LightField(
        constant(0.0),
        constant(0.0),
        lambda features: torch.zeros(len(features), 1),
        None,
        encode_points=embedder(2),
        encode_directions=embedder(2),
    )
    generator = torch.Generator().manual_seed(0)
    points, normals, view = (0.3 * torch.randn(50, 3, generator=generator) for _ in range(3))
    material = Material(*(torch.rand(50, c, generator=generator) for c in (3, 1, 1)))
    seen = shade(points, normals, view, material, lights, reflectance_table())
    torch.testing.assert_close(seen.diffuse, material.diffuse_albedo)
    torch.testing.assert_close(seen.specular, seen.reflectance)
    assert (seen.reflectance <= 1).all()
