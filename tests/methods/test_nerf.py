"""NeRF learns a tiny scene, in the frame of its capture: cut out in the region, uncut in all of space."""

import json

import numpy as np
import pytest

from rilievo.cli.evaluate import image_metrics
from rilievo.cli.mesh import surface
from rilievo.data.load import load_scene
from rilievo.engine import config_file
from rilievo.methods.nerf.config import PRESETS, NerfConfig
from rilievo.methods.nerf.model import NerfModel


def psnr(run) -> float:
    return image_metrics(run)["mean"]["psnr"]


@pytest.fixture(scope="module")
def learned(fit, capture):
    return fit("nerf", capture, "--steps", "120")


def test_a_hundred_and_twenty_steps_gain_three_decibels_on_a_photograph_that_was_held_out(learned, fit, capture):
    assert psnr(learned) > psnr(fit("nerf", capture, "--steps", "1")) + 3


@pytest.mark.parametrize("resolution", [40, 64])
def test_the_mesh_of_the_density_is_closed_and_lies_in_the_region(learned, resolution):
    mesh = surface(learned, resolution)
    assert mesh.is_closed()
    scale = float(np.cbrt(np.linalg.det(learned.scene.capture_from_world[:3, :3].numpy())))
    center = learned.scene.capture_from_world[:3, 3].numpy()
    assert np.linalg.norm(mesh.vertices - center, axis=-1).max() < scale * (1 + 2 * 3**0.5 / resolution)


def test_a_capture_moved_and_scaled_is_rendered_the_same(fit, capture, moved_capture):
    runs = [fit("nerf", scene, "--steps", "5") for scene in (capture, moved_capture)]
    here, there = (run.model.render(run.scene.cameras, 1) for run in runs)
    assert (here.rgb - there.rgb).abs().mean() < 2e-3
    ratio = [float(np.cbrt(np.linalg.det(run.scene.capture_from_world[:3, :3].numpy()))) for run in runs]
    assert ratio[1] / ratio[0] == pytest.approx(2.5, rel=1e-3)


@pytest.mark.parametrize("flags", [(), ("--mask-meaning", "ignore")])
def test_what_no_mask_cuts_away_is_modelled_in_all_of_space(fit, capture, uncut_capture, flags):
    run = fit("nerf", capture if flags else uncut_capture, "--steps", "6", *flags)
    assert run.model.volume.contraction == "unbounded_sphere"
    seen = run.model.render(run.scene.cameras, 0)
    assert seen.normals is None
    assert seen.rgb.isfinite().all()


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_the_run_folder(preset):
    assert config_file.parse(NerfConfig, config_file.render(PRESETS[preset])) == PRESETS[preset]


@pytest.fixture(scope="module")
def published(golden):
    return json.loads((golden / "schedules.json").read_text())["configs"]["nerf-blender"]


@pytest.mark.golden
def test_the_paper_preset_has_the_published_sizes(published, capture):
    model, there = NerfModel(PRESETS["paper"], load_scene(capture).normalised()), published["model_full"]
    grid = there["geometry"]["xyz_encoding_config"]
    scales = [grid["base_resolution"] * grid["per_level_scale"] ** level - 1 for level in range(grid["n_levels"])]
    dense = [-(-((int(np.ceil(scale)) + 1) ** 3) // 8) * 8 for scale in scales]
    entries = sum(min(size, 2 ** grid["log2_hashmap_size"]) for size in dense)
    parameters = dict(model.volume.density.named_parameters())
    (table,) = [p for name, p in parameters.items() if name.endswith("table")]
    assert table.shape == (entries, grid["n_features_per_level"])
    width, features = there["geometry"]["mlp_network_config"]["n_neurons"], there["geometry"]["feature_dim"]
    shapes = [tuple(p.shape) for name, p in parameters.items() if name.endswith("weight")]
    assert shapes == [(width, grid["n_levels"] * grid["n_features_per_level"]), (features, width)]
    width = there["texture"]["mlp_network_config"]["n_neurons"]
    inputs = features + there["texture"]["dir_encoding_config"]["degree"] ** 2
    shapes = [tuple(p.shape) for name, p in model.volume.color.named_parameters() if name.endswith("weight")]
    assert shapes == [(width, inputs), (width, width), (3, width)]


@pytest.mark.golden
def test_the_paper_preset_has_the_published_losses_and_learning_rates(published):
    paper = PRESETS["paper"]
    for name, weight in published["loss"].items():
        assert getattr(paper.losses, name.removeprefix("lambda_"))(0) == weight
    assert paper.fit.steps == published["max_steps"]
    assert paper.fit.rays == published["model"]["train_num_rays"]
    assert paper.fit.samples == published["model"]["train_num_rays"] * published["model"]["num_samples_per_ray"]
    factor = paper.optim.schedule(paper.fit.steps)
    for step, (rate,) in published["lr_at_step"].items():
        assert factor(int(step)) * paper.optim.rate == pytest.approx(rate, rel=1e-5)
