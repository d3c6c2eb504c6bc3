"""NeRO's first stage with the published networks: samples, opacities, rates."""

import numpy as np
import pytest
import torch
from tests.methods.nero_published import Published
from torch.nn.functional import normalize

from rilievo.engine.schedules import Cosine, Ramp, warmup
from rilievo.fields.inverted_sphere import InvertedSphereNerf, inverted
from rilievo.losses.glossy import start_weight
from rilievo.methods.nero_shape.config import PRESETS
from rilievo.methods.nero_shape.dense import sample_more, sample_ray
from rilievo.methods.nero_shape.outside import density_alpha, light_color
from rilievo.renderers.alpha import alpha_from_sdf, anneal_ratio, annealed_cos
from rilievo.shading.photographer import photographer_frame

COLOR = {"atol": 2e-5, "rtol": 1e-4}
MLP_VALUE = {"atol": 1e-5, "rtol": 1e-4}
MLP_GRADIENT = {"atol": 1e-5, "rtol": 1e-3}
CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}


@pytest.fixture(scope="module")
def golden_path(shared):
    return shared / "golden" / "neural" / "nero_shape_render.npz"


@pytest.fixture
def published(golden_path) -> Published:
    return Published(golden_path)


@pytest.mark.golden
def test_rays_are_sampled_as_published(published):
    c, inv_s = published.config, published.inv_s.detach()
    count = int(published["upsample/n_importance"])
    given = published["upsample/inv_s"]
    assert (given == given.flatten()[0]).all()
    new = sample_more(
        published["in/rays_o"],
        published["in/rays_d"],
        published["upsample/z_vals"],
        published["upsample/sdf"],
        count,
        given.flatten()[0],
    )
    np.testing.assert_allclose(new, published["upsample/new_z_vals"], atol=1e-3)
    t = sample_ray(
        published["in/rays_o"],
        published["in/rays_d"],
        published["in/near"],
        published["in/far"],
        published.level,
        inv_s,
        even=c["n_samples"],
        more=c["n_importance"],
        rounds=c["up_sample_steps"],
        beyond=c["n_bg_samples"],
    )
    inside = c["n_samples"] + c["n_importance"]
    expected = published["sample_ray/z_vals"]
    np.testing.assert_allclose(t[:, :inside], expected[:, :inside], atol=1e-3)
    np.testing.assert_allclose(t[:, inside:], expected[:, inside:], rtol=1e-5)
    frames = photographer_frame(published["in/poses"], fixed_camera=c["fixed_camera"])
    np.testing.assert_allclose(
        frames[published["in/pose_index"][:, 0]], published["in/human_poses"], atol=1e-6, rtol=1e-5
    )


@pytest.mark.golden
def test_opacities_inside_and_outside_are_the_published_ones(published):
    at = {key[10:]: value for key, value in published.data.items() if key.startswith("sdf_alpha/")}
    with torch.no_grad():
        sdf, gradient, feature = published.sdf(at["points"])
        np.testing.assert_allclose(sdf, at["sdf"], **MLP_VALUE)
        np.testing.assert_allclose(gradient, at["gradients"], **MLP_GRADIENT)
        np.testing.assert_allclose(feature, at["feature"], **MLP_VALUE)
        np.testing.assert_allclose(published.inv_s.expand_as(sdf), at["inv_s"], rtol=1e-5)
        cos = annealed_cos((at["dirs"] * at["gradients"]).sum(-1), float(at["cos_anneal_ratio"]))
        ours = alpha_from_sdf(at["sdf"], cos, at["dists"], published.inv_s)
        np.testing.assert_allclose(ours, at["alpha"], **COLOR)
        at = {key[14:]: value for key, value in published.data.items() if key.startswith("density_alpha/")}
        raw, light = published.outside(inverted(at["points"]), at["dirs_argument"])
        np.testing.assert_allclose(density_alpha(raw, at["dists"]), at["alpha"], **COLOR)
        np.testing.assert_allclose(light_color(light), at["color"], **COLOR)


def test_light_from_beyond_the_sphere_can_be_shown_and_no_length_is_transparent():
    nerf = InvertedSphereNerf(width=16, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    view = normalize(torch.randn(10, 3, generator=generator), dim=-1)
    raw, light = nerf(inverted(3 * view), view)
    color = light_color(light * 1e3)
    assert ((color >= 0) & (color <= 1)).all()
    assert (density_alpha(raw, torch.zeros(10)) == 0).all()


@pytest.mark.golden
def test_learning_rates_annealing_and_density_are_the_published_ones(golden):
    data = np.load(golden / "nero_losses.npz")
    courses = {"shape": (5000, 300000), "material": (1000, 100000)}  # of the shipped configurations
    for name, (warm, end) in courses.items():
        rate = warmup(warm, Cosine(end - warm, end=0.05), start=0.0)
        ours = [5e-4 * rate(step) for step in data[f"lr/{name}/step"].tolist()]
        np.testing.assert_allclose(ours, data[f"lr/{name}/lr"], rtol=1e-5, err_msg=name)
    ours = [anneal_ratio(step, 50000) for step in data["anneal/step"].tolist()]
    np.testing.assert_allclose(ours, data["anneal/value"], **CLOSED_FORM)
    raw, dt = (torch.from_numpy(data[f"density_activation/{key}"]) for key in ("density", "dists"))
    np.testing.assert_allclose(density_alpha(raw, dt), data["density_activation/alpha"], **CLOSED_FORM)


@pytest.mark.golden
def test_the_eikonal_weight_rises_as_published(golden):
    data = np.load(golden / "nero_losses.npz")
    step, weight = data["eikonal/anneal/step"], data["eikonal/anneal/weight"]
    rises = int(step[weight == 0].max()), int(step[weight == weight.max()].min())
    ramp = Ramp(0.0, float(weight.max()), end_step=rises[1], start_step=rises[0])
    np.testing.assert_allclose([ramp(k) for k in step.tolist()], weight, **CLOSED_FORM)
    at_600 = data["eikonal/anneal/gradient_error"] * ramp(600)
    np.testing.assert_allclose(at_600, data["eikonal/anneal/loss_at_600"], **CLOSED_FORM)


@pytest.mark.golden
def test_the_paper_preset_weighs_the_eikonal_term_as_published(golden):
    data = np.load(golden / "nero_losses.npz")
    weight = PRESETS["paper"].losses.eikonal
    ours = [weight(step) for step in data["eikonal/default/step"].tolist()]
    np.testing.assert_allclose(ours, data["eikonal/default/weight"], **CLOSED_FORM)
    at_600 = data["eikonal/default/gradient_error"] * weight(600)
    np.testing.assert_allclose(at_600, data["eikonal/default/loss_at_600"], **CLOSED_FORM)


@pytest.mark.golden
def test_the_paper_preset_starts_with_occlusion_when_published(golden, published):
    data = np.load(golden / "nero_losses.npz")
    paper = PRESETS["paper"]
    assert paper.occlusion_start == published.config["occ_loss_step"] == int(data["occ/occ_loss_step"])
    assert paper.occlusion_distance == pytest.approx(float(data["occ/occ_sdf_thresh"]))
    assert not data["occ/loss_before_step"].any()
    assert start_weight(1000) == 0
    assert int(data["init_sdf/n_keys_at_1000"]) == 0
