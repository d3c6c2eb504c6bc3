"""NeRO's second-stage estimate: what it should converge to, and the published numbers, term by term."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.material import FrequencyFeatures, MaterialField
from rilievo.fields.mlp import MLP
from rilievo.losses.glossy import material_change, saturated_material
from rilievo.shading.brdf import Material
from rilievo.shading.color import linear_to_srgb
from rilievo.shading.directions import fibonacci_sphere
from rilievo.shading.monte_carlo import TracedAppearance, across, even_squares, shade_traced, tangent_step
from rilievo.shading.reflection import dot, reflect
from rilievo.shading.split_sum import reflectance_integral
from rilievo.shading.traced_light import START, Meeting, TracedLight

COLOR = {"atol": 2e-5, "rtol": 1e-4}
MLP_VALUE = {"atol": 1e-5, "rtol": 1e-4}
CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}
MISS_DEPTH, LEAST = 10.0, 1e-4


def facing(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit normals and view directions up to 60 degrees away from them."""
    generator = torch.Generator().manual_seed(seed)
    normals = normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)
    turn, tilt = torch.rand(2, count, 1, generator=generator, dtype=torch.float64)
    tilt = tilt * math.pi / 3
    side = tangent_step(normals, turn, 1.0)
    return normals, normals * tilt.cos() + side * tilt.sin()


def test_a_white_matte_surface_in_a_white_room_is_white():
    normals, view = facing(20, 0)
    white = Material(torch.ones(20, 3).double(), torch.zeros(20, 1).double(), torch.full((20, 1), 0.5).double())
    squares = even_squares(64).double()
    seen = shade_traced(normals, view, white, torch.ones_like, squares, squares, shadowing="ggx_smith")
    torch.testing.assert_close(seen.diffuse, torch.ones(20, 3).double())


@pytest.mark.parametrize("roughness", [0.5, 0.8])
def test_the_published_estimate_counts_a_mirror_about_twice(roughness):
    """A known fault of the published sum: each kind of direction estimates the whole mirror, and both are added."""
    normals, view = facing(40, 1)
    metal = Material(torch.ones(40, 3).double(), torch.ones(40, 1).double(), torch.full((40, 1), roughness).double())
    squares = even_squares(512).double()
    seen = shade_traced(normals, view, metal, torch.ones_like, squares, squares, shadowing="ggx_smith")
    exact = reflectance_integral((normals * view).sum(-1), torch.full((40,), roughness).double()).sum(-1)
    ratio = seen.specular[:, 0] / exact
    assert 1.5 < ratio.mean() < 3


def test_turning_the_directions_changes_them_and_not_their_angles():
    normals, view = facing(10, 2)
    material = Material(torch.rand(10, 3).double(), torch.rand(10, 1).double(), torch.full((10, 1), 0.3).double())
    squares = even_squares(16).double()
    turn = torch.full((10, 1), 0.3).double()
    still, turned = (
        shade_traced(normals, view, material, torch.ones_like, squares, squares, shadowing="schlick", turns=turns)
        for turns in (None, (turn, turn))
    )
    assert (still.directions - turned.directions).norm(dim=-1).mean() > 0.1
    matte = len(squares)
    axis = reflect(view, normals)
    for part, about in ((slice(0, matte), normals), (slice(matte, None), axis)):
        cosines = [(seen.directions[:, part] * about[:, None]).sum(-1) for seen in (still, turned)]
        torch.testing.assert_close(*cosines)


class Published:
    """The networks of one stored configuration, the points it was asked about, and what its rays met."""

    def __init__(self, path, case: str) -> None:
        raw = np.load(path)
        self.case = case
        self.config = json.loads(str(raw[f"{case}/cfg_json"]))
        self.data = {key: torch.from_numpy(raw[key]) for key in raw.files if raw[key].dtype.kind in "fib"}
        self.grad_names = raw[f"{case}/train/grad/names"].tolist()
        stored = {}
        for prefix in ("shared/sd/", f"{case}/sd/"):
            stored |= {key.removeprefix(prefix): v for key, v in self.data.items() if key.startswith(prefix)}
        self.names = sorted({key.rsplit(".", 2)[0] for key in stored})
        self.networks = {name: predictor(stored, name) for name in self.names}
        self.points = self.data["in/pts"]
        self.normals = normalize(self.data["in/normals"], dim=-1)
        self.view = normalize(self.data["in/view_dirs_unnormalised"], dim=-1)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.data[f"{self.case}/{name}"]

    @property
    def field(self) -> MaterialField:
        features = FrequencyFeatures(embedder(8))
        features.first, features.second = (self.networks[f"feats_network.module{k}"] for k in (0, 1))
        return MaterialField(
            features, *(self.networks[f"{name}_predictor"] for name in ("albedo", "metallic", "roughness"))
        )

    @property
    def light(self) -> TracedLight:
        return TracedLight(
            self.networks["outer_light"],
            self.networks["inner_light"],
            self.networks.get("human_light"),
            encode_points=embedder(8),
            from_sphere=self.config["outer_light_version"] == "sphere_direction",
            max_exponent=self.config["light_exp_max"],
            indirect_max_exponent=self.config["inner_light_exp_max"],
        )

    def shaded(self, material: Material, trace, turns=None) -> TracedAppearance:
        def incoming(directions):
            return self.light(self.points, directions, trace, self.data["in/human_poses"])

        squares = (even_squares(self.config[f"{kind}_sample_num"]) for kind in ("diffuse", "specular"))
        return shade_traced(
            self.normals, self.view, material, incoming, *squares, shadowing=self.config["geometry_type"], turns=turns
        )

    def balls(self, origins: torch.Tensor, directions: torch.Tensor) -> Meeting:
        """The two balls that the published rays met; where a ray meets one is differentiable by its direction."""
        centers, radii = self.data["scene/centres"], self.data["scene/radii"]
        from_center = origins[:, None] - centers
        along = (from_center * directions[:, None]).sum(-1)
        square = along.square() - from_center.square().sum(-1) + radii.square()
        half = square.clamp_min(0).sqrt()
        t = torch.where(-along - half > LEAST, -along - half, -along + half)
        t, nearest = torch.where((square > 0) & (t > LEAST), t, MISS_DEPTH).min(-1)
        points = origins + t[:, None] * directions
        normals = (points - centers[nearest]) / radii[nearest][:, None]
        return Meeting(points, normals, t[:, None], t < MISS_DEPTH)

    def meeting(self, prefix: str, separator: str) -> Meeting:
        points, normals, depth = (self[f"{prefix}{separator}{name}"] for name in ("inters", "normals", "depth"))
        return Meeting(points, normals, depth, depth[:, 0] < MISS_DEPTH)


def embedder(octaves: int) -> CompositeEncoding:
    return CompositeEncoding(FrequencyEncoding(octaves), scale=1.0, offset=0.0)


def predictor(stored: dict[str, torch.Tensor], name: str) -> MLP:
    """Weight-normalised layers, stored under the numbers 0, 2, 4, …"""
    numbers = sorted(int(key.split(".")[-2]) for key in stored if key.startswith(f"{name}.") and key.endswith("bias"))
    last = stored[f"{name}.{numbers[-1]}.bias"]
    first = stored[f"{name}.{numbers[0]}.weight_v"]
    mlp = MLP(first.shape[1], len(last), width=len(first), hidden_layers=len(numbers) - 1, weight_norm=True)
    parts = ("bias", "weight_g", "weight_v")
    mlp.load_state_dict({f"layers.{k}.{p}": stored[f"{name}.{n}.{p}"] for k, n in enumerate(numbers) for p in parts})
    return mlp


@pytest.fixture(params=["syn", "real"])
def published(request, golden) -> Published:
    return Published(golden / "nero_material.npz", request.param)


@pytest.mark.golden
def test_fixed_directions_are_the_published_ones(published):
    for kind in ("diffuse", "specular"):
        expected = published[f"{kind}_direction_samples"]
        np.testing.assert_allclose(even_squares(len(expected)), expected, **CLOSED_FORM)
    first = published["light_pts_first16"]
    np.testing.assert_allclose(fibonacci_sphere(8192, upper_half=True)[: len(first)], first, **CLOSED_FORM)
    np.testing.assert_allclose(across(published.normals), published["orthogonal_directions"], **CLOSED_FORM)


@pytest.mark.golden
def test_materials_are_the_published_ones(published):
    with torch.no_grad():
        material = published.field(published.points)
    for name, ours in {
        "terms/albedo": material.albedo,
        "terms/metallic": material.metallic,
        "terms/roughness": material.alpha_ggx,
        "terms/F0": material.f0,
        "eval/albedo": material.albedo,
        "eval/metallic": material.metallic,
        "eval/roughness": material.alpha_ggx,
    }.items():
        np.testing.assert_allclose(ours, published[name], **MLP_VALUE, err_msg=name)


@pytest.mark.golden
def test_shading_is_the_published_one_term_by_term(published):
    with torch.no_grad():
        asked = []

        def replay(origins, directions):
            asked.append((origins, directions))
            return published.meeting("trace", "/")

        seen = published.shaded(published.field(published.points), replay)
    origins, directions = asked[0]
    np.testing.assert_allclose(origins, published["trace/rays_o"], atol=5e-6)
    np.testing.assert_allclose(directions, published["trace/rays_d"], atol=5e-6)
    matte = published.config["diffuse_sample_num"]
    np.testing.assert_allclose(seen.directions[:, :matte], published["terms/diffuse_directions"], atol=5e-6)
    np.testing.assert_allclose(seen.directions[:, matte:], published["terms/specular_directions"], atol=5e-6)
    np.testing.assert_allclose(reflect(published.view, published.normals), published["terms/reflections"], **MLP_VALUE)
    for name, ours in {
        "fresnel": seen.fresnel,
        "geometry": seen.shadowing,
        f"geometry_{published.config['geometry_type']}": seen.shadowing,
        "specular_color_linear": seen.specular,
        "diffuse_color_linear": seen.diffuse,
    }.items():
        np.testing.assert_allclose(ours, published[f"terms/{name}"], **COLOR, err_msg=name)
    # what is published multiplies out polynomials of degree 16 in float32: single directions lose digits
    off = (seen.light - published["terms/lights"]).abs()
    assert off.max() < 5e-4
    assert off.mean() < 2e-5
    # peaks of sharp lobes: an α of 0.002 turns the last bit of a cosine into the third digit
    for name, ours in (("distribution", seen.distribution), ("probability", seen.density)):
        expected = published[f"terms/{name}"]
        assert (ours - expected).norm() < 1e-3 * expected.norm(), name
    np.testing.assert_allclose(seen.mirror_weight, published["terms/specular_weights"], atol=1e-3, rtol=1e-3)
    assert torch.equal(published["terms/hit_mask"].flatten(), published.meeting("trace", "/").hit)


@pytest.mark.golden
def test_colors_are_the_published_ones(published):
    cases = {"eval": ("trace", "/", None), "shade_mixed": ("shade_mixed/trace", "_", "shade_mixed")}
    for case, (prefix, separator, prescribed) in cases.items():
        with torch.no_grad():
            material = published.field(published.points)
            if prescribed:
                alpha = published[f"{prescribed}/roughness"]
                material = Material(
                    published[f"{prescribed}/albedo"], published[f"{prescribed}/metallic"], alpha.sqrt()
                )
            met = published.meeting(prefix, separator)
            seen = published.shaded(material, lambda o, d, met=met: met)
            matte = published.config["diffuse_sample_num"]
            if prescribed:
                mirror = published[f"{prescribed}/specular_directions"]
                np.testing.assert_allclose(seen.directions[:, matte:], mirror, atol=5e-6)
        for name, ours in {
            "colors": seen.rgb,
            "diffuse_light": linear_to_srgb(seen.diffuse_light),
            "specular_light": linear_to_srgb(seen.specular_light),
            "diffuse_color": linear_to_srgb(seen.diffuse),
            "specular_color": linear_to_srgb(seen.specular),
            "approximate_light": seen.approximate_light,
        }.items():
            np.testing.assert_allclose(ours, published[f"{case}/{name}"], **COLOR, err_msg=f"{case} {name}")


@pytest.mark.golden
def test_both_shadowings_and_the_cosines_are_the_published_ones(published):
    matte = published.config["diffuse_sample_num"]
    directions = torch.cat([published["terms/diffuse_directions"], published["terms/specular_directions"]], 1)
    assert directions.shape[1] > matte
    n, v = published.normals[:, None], published.view[:, None]
    halfway = normalize(v + directions, dim=-1)
    cosines = {"HoV": dot(halfway, v), "NoV": dot(n, v), "NoL": dot(n, directions), "NoH": dot(n, halfway)}
    np.testing.assert_allclose(halfway, published["terms/half"], **CLOSED_FORM)
    for name, cos in cosines.items():
        np.testing.assert_allclose(cos.clamp(0, 1), published[f"terms/{name}"], **CLOSED_FORM, err_msg=name)
    met = published.meeting("trace", "/")
    for shadowing in ("schlick", "ggx_smith"):
        with torch.no_grad():
            published.config["geometry_type"] = shadowing
            seen = published.shaded(published.field(published.points), lambda o, d: met)
        np.testing.assert_allclose(seen.shadowing, published[f"terms/geometry_{shadowing}"], **COLOR)


@pytest.mark.golden
def test_the_photographer_sends_the_published_light_to_what_leaves(published):
    met = published.meeting("trace", "/")
    gone = ~met.hit
    count = published.config["diffuse_sample_num"] + published.config["specular_sample_num"]
    points, frames = (x.repeat_interleave(count, 0)[gone] for x in (published.points, published.data["in/human_poses"]))
    with torch.no_grad():
        seen = published.light.photographed(points, published["trace/rays_d"][gone], frames)
    light = torch.zeros_like(points) if seen is None else seen[:, :3] * seen[:, 3:]
    for name in ("terms/human_lights_weighted", "eval/human_lights"):
        np.testing.assert_allclose(light, published[name], **MLP_VALUE, err_msg=name)


@pytest.mark.golden
def test_training_gives_the_published_colors_and_gradients(published):
    """The published rays were differentiable: roughness moves directions, and these what is met."""
    turns = tuple(published[f"train/rand_azimuth_{kind}"][:, 0] for kind in ("diffuse", "specular"))
    stored = published.meeting("train/trace", "_")

    def trace(origins, directions):
        met = published.balls(origins, directions)
        assert torch.equal(met.hit, stored.hit)
        np.testing.assert_allclose(met.points[met.hit].detach(), stored.points[met.hit], atol=5e-6)
        return met

    seen = published.shaded(published.field(published.points), trace, turns)
    np.testing.assert_allclose(seen.rgb.detach(), published["train/colors"], **COLOR)
    (seen.rgb * published["train/cotangent"]).sum().backward()
    norms = dict(zip(published.grad_names, published["train/grad/norms"].tolist()))
    for name, mlp in published.networks.items():
        for part, parameter in mlp.named_parameters():
            _, layer, kind = part.split(".")
            key = f"{name}.{2 * int(layer)}.{kind}"
            assert parameter.grad.norm().item() == pytest.approx(norms.pop(key), rel=2e-3, abs=1e-5), key
            whole = f"{published.case}/train/grad/full/{key}"
            if whole in published.data:
                np.testing.assert_allclose(parameter.grad, published.data[whole], atol=1e-5, rtol=2e-3, err_msg=key)
    assert not norms


def test_the_gradient_by_roughness_is_the_colors_derivative():
    normals, view = facing(4, 3)
    squares = even_squares(12).double()
    roughness = torch.full((4, 1), 0.6, dtype=torch.float64, requires_grad=True)

    def color(roughness: torch.Tensor) -> torch.Tensor:
        material = Material(torch.full((4, 3), 0.5).double(), torch.full((4, 1), 0.7).double(), roughness)
        seen = shade_traced(
            normals, view, material, lambda d: 0.2 + d.square(), squares, squares, shadowing="ggx_smith"
        )
        return seen.rgb

    assert torch.autograd.gradcheck(color, (roughness,))


@pytest.mark.golden
def test_the_light_round_about_is_the_published_one(published):
    expected = published["env_light_linear"]
    height, width = expected.shape[:2]
    azimuth = torch.linspace(1, 0, width) * 2 * math.pi - math.pi / 2
    elevation = torch.linspace(1, -1, height) * math.pi / 2
    elevation, azimuth = torch.meshgrid(elevation, azimuth, indexing="ij")
    axes = [elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()]
    if not published.config["is_real"]:
        axes = axes[1:] + axes[:1]  # y is up in the published pictures of synthetic captures
    directions = torch.stack(axes, -1)
    light = published.light
    with torch.no_grad():
        # from the centre a ray leaves the unit sphere where it points to
        ours = light.surroundings(torch.zeros(height * width, 3), directions.view(-1, 3)).view(height, width, 3)
        few = published["env_pts_light"]
        towards = fibonacci_sphere(8192, upper_half=True)[: len(few)].float()
        there = light.surroundings(torch.zeros_like(towards), towards)
    np.testing.assert_allclose(ours, expected, **MLP_VALUE)
    np.testing.assert_allclose(linear_to_srgb(ours), published["env_light_gamma"], **COLOR)
    np.testing.assert_allclose(there, few, **MLP_VALUE)


@pytest.mark.golden
def test_what_is_asked_of_materials_is_published(published):
    field, points, normals = published.field, published.points, published.normals
    with torch.no_grad():
        here = field(points)
        for name in ("gaussian_step_100", "constant_step_100", "gaussian_step_5000", "constant_step_5000"):
            turn = published[f"reg/{name}/rand_angle"]
            gaussian = name.startswith("gaussian")
            length = published[f"reg/{name}/normal_eps"] if gaussian else published.config["change_eps"]
            there = field(points + tangent_step(normals, turn, length))
            change = material_change(
                (here.albedo, there.albedo), (here.metallic, there.metallic), (here.alpha_ggx, there.alpha_ggx)
            )
            expected = published.config["reg_lambda1"] * change
            if name.endswith("_100"):
                expected = expected + saturated_material(here.metallic, here.alpha_ggx)
            np.testing.assert_allclose(expected, published[f"reg/{name}/out"], **CLOSED_FORM, err_msg=name)
    only = saturated_material(published["reg/min_max_only/metallic"], published["reg/min_max_only/roughness"])
    np.testing.assert_allclose(only, published["reg/min_max_only/out"], **CLOSED_FORM)


def test_rays_that_meet_what_they_started_from_bring_no_light():
    light = TracedLight(
        lambda features: torch.zeros(len(features), 3),
        lambda features: torch.zeros(len(features), 3),
        None,
        encode_points=embedder(2),
    )
    points = torch.zeros(2, 3)
    directions = normalize(torch.ones(2, 2, 3), dim=-1)
    distance = torch.tensor([[START / 2], [0.3], [MISS_DEPTH], [MISS_DEPTH]])
    met = Meeting(torch.zeros(4, 3), torch.ones(4, 3), distance, distance[:, 0] < MISS_DEPTH)
    seen = light(points, directions, lambda o, d: met)
    assert seen[..., 0].flatten().tolist() == [0, 1, 1, 1]
