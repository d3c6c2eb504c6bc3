"""NeuS learns a tiny scene, in the frame of its capture, with masks of either meaning and with none."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from rilievo.cli.evaluate import image_metrics
from rilievo.cli.mesh import surface
from rilievo.data.load import load_scene
from rilievo.engine import config_file
from rilievo.engine.fit import fit as train
from rilievo.engine.schedules import Constant
from rilievo.engine.workspace import Workspace
from rilievo.methods.neus.config import PRESETS, NeusConfig
from rilievo.methods.neus.model import NeusModel
from rilievo.methods.neus.module import NeusModule
from rilievo.ops.ray_march.schedule import uniform_step

RESOLUTION = 48


def psnr(run) -> float:
    return image_metrics(run)["mean"]["psnr"]


@pytest.fixture(scope="module")
def learned(fit, capture):
    return fit("neus", capture)


def test_sixty_steps_gain_two_decibels_on_a_photograph_that_was_held_out(learned, fit, capture):
    assert psnr(learned) > psnr(fit("neus", capture, "--steps", "1")) + 2


def test_the_surface_is_closed_and_its_colours_are_the_objects(learned):
    mesh = surface(learned, RESOLUTION)
    assert mesh.is_closed()
    assert mesh.normals is not None
    assert mesh.colors is not None
    outward = (mesh.normals * (mesh.vertices - mesh.vertices.mean(0))).sum(-1)
    assert (outward > 0).mean() > 0.7
    inside = np.linalg.norm(mesh.vertices - mesh.vertices.mean(0), axis=-1)
    assert inside.max() < 1.5  # the object, not the region's border


def test_a_capture_moved_and_scaled_gives_the_mesh_moved_and_scaled(fit, capture, moved_capture):
    steps = ("--steps", "5")
    here, there = (surface(fit("neus", scene, *steps), RESOLUTION) for scene in (capture, moved_capture))
    expected = here.vertices * 2.5 + [10, -4, 3]
    voxel = 2.5 * 2 * 1.7 / RESOLUTION
    assert np.abs(there.vertices.min(0) - expected.min(0)).max() < voxel / 2
    assert np.abs(there.vertices.max(0) - expected.max(0)).max() < voxel / 2
    assert np.abs(there.vertices.mean(0) - expected.mean(0)).max() < voxel / 2


def test_without_masks_the_world_behind_is_learned_and_shown_where_no_surface_is(fit, uncut_capture):
    run = fit("neus", uncut_capture, "--steps", "12", "--region", "0", "0", "-0.2", "1.6")
    assert run.model.outside is not None
    seen = run.model.render(run.scene.cameras, 2)
    assert seen.background is not None
    assert seen.background.isfinite().all()
    assert seen.normals is not None
    bare = seen.opacity == 0
    assert 0 < bare.float().mean() < 1
    assert torch.allclose(seen.rgb[bare], seen.background[bare], atol=1e-6)
    log = (run.workspace.log / "metrics.csv").read_text()
    assert "loss/mask" not in log


def test_pixels_to_be_ignored_give_no_silhouette_and_leave_the_world_behind_to_be_learned(fit, capture):
    run = fit("neus", capture, "--steps", "6", "--mask-meaning", "ignore")
    assert run.model.outside is not None
    assert "loss/mask" not in (run.workspace.log / "metrics.csv").read_text()
    assert run.model.render(run.scene.cameras, 0).rgb.isfinite().all()


def test_every_loss_can_be_asked_for_and_is_finite(uncut_capture, tmp_path):
    names = ("rgb_l1", "opaque", "sparsity", "curvature", "distortion", "distortion_bg")
    smoke = PRESETS["smoke"]
    weights = dataclasses.replace(smoke.losses, **dict.fromkeys(names, Constant(0.01)))
    config = dataclasses.replace(smoke, losses=weights, fit=dataclasses.replace(smoke.fit, steps=3))
    scene = load_scene(uncut_capture, region=(0.0, 0.0, -0.2, 1.6)).normalised()
    train(NeusModule(config, scene), scene, config.fit, Workspace(tmp_path))
    header, first = (tmp_path / "log" / "metrics.csv").read_text().splitlines()[:2]
    numbers = dict(zip(header.split(","), map(float, first.split(","))))
    assert {f"loss/{name}" for name in names} <= numbers.keys()
    assert np.isfinite(list(numbers.values())).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_the_run_folder(preset):
    assert config_file.parse(NeusConfig, config_file.render(PRESETS[preset])) == PRESETS[preset]


@pytest.fixture(scope="module")
def published(golden):
    return json.loads((golden / "schedules.json").read_text())


@pytest.mark.golden
def test_the_paper_preset_has_the_published_sizes(published, capture):
    scene = load_scene(capture).normalised()
    model, there = NeusModel(PRESETS["paper"], scene), published["configs"]["neus-blender"]["model_full"]
    grid = there["geometry"]["xyz_encoding_config"]
    scales = [grid["base_resolution"] * grid["per_level_scale"] ** level - 1 for level in range(grid["n_levels"])]
    dense = [-(-((int(np.ceil(scale)) + 1) ** 3) // 8) * 8 for scale in scales]
    entries = sum(min(size, 2 ** grid["log2_hashmap_size"]) for size in dense)
    (table,) = [p for name, p in model.geometry.named_parameters() if name.endswith("table")]
    assert table.shape == (entries, grid["n_features_per_level"])

    shapes = [tuple(p.shape) for name, p in model.geometry.named_parameters() if name.endswith("weight_v")]
    network, features = there["geometry"]["mlp_network_config"], there["geometry"]["feature_dim"]
    inputs = grid["n_levels"] * grid["n_features_per_level"] + 3 * grid["include_xyz"]
    assert shapes == [(network["n_neurons"], inputs), (features, network["n_neurons"])]
    shapes = [tuple(p.shape) for name, p in model.texture.named_parameters() if name.endswith("weight")]
    width = there["texture"]["mlp_network_config"]["n_neurons"]
    assert shapes == [
        (width, features + 3 + there["texture"]["dir_encoding_config"]["degree"] ** 2),
        (width, width),
        (3, width),
    ]
    assert there["texture"]["mlp_network_config"]["n_hidden_layers"] == 2
    assert float(model.sharpness.inv_s) == pytest.approx(np.exp(10 * there["variance"]["init_val"]), rel=1e-5)


@pytest.mark.golden
def test_the_paper_preset_has_the_published_losses_and_learning_rates(published):
    paper, there = PRESETS["paper"], published["configs"]["neus-blender"]
    for name, weight in there["loss"].items():
        if name == "sparsity_scale":
            assert paper.losses.sparsity_scale == weight
        else:
            assert getattr(paper.losses, name.removeprefix("lambda_"))(0) == weight
    assert paper.fit.steps == there["max_steps"]
    assert paper.fit.rays == there["model"]["train_num_rays"]
    assert paper.fit.max_rays == there["model"]["max_train_num_rays"]
    assert paper.fit.samples == there["model"]["train_num_rays"] * there["model"]["num_samples_per_ray"]
    assert paper.samples_per_ray == there["model"]["num_samples_per_ray"]
    assert paper.cos_anneal_steps == there["model"]["cos_anneal_end"]
    factor = paper.optim.schedule(paper.fit.steps)
    for step, rates in there["lr_at_step"].items():
        ours = [factor(int(step)) * rate for rate in (paper.optim.rate, paper.optim.rate, paper.optim.sharpness_rate)]
        assert ours == pytest.approx(rates, rel=1e-5)
    assert {group["weight_decay"] for group in there["param_groups"]} == {paper.optim.weight_decay}


@pytest.mark.golden
def test_steps_along_rays_are_as_long_as_the_published_ones(published):
    for name, step in published["render_step_size_neus"].items():
        radius, samples = (part.split("=")[1] for part in name.split(","))
        assert uniform_step(float(radius), int(samples)) == pytest.approx(step, rel=1e-5)
