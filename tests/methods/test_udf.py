"""Unsigned distances learn a tiny scene, in the frame of its capture, with masks and without."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from rilievo.cameras.rays import Rays
from rilievo.cli.evaluate import image_metrics
from rilievo.cli.mesh import surface
from rilievo.data.load import load_scene
from rilievo.engine import config_file
from rilievo.engine.fit import fit as train
from rilievo.engine.patch_sampler import PatchSampler
from rilievo.engine.schedules import Constant, Ramp
from rilievo.engine.settings import MlpConfig
from rilievo.engine.workspace import Workspace
from rilievo.errors import UserError
from rilievo.methods.udf.config import (
    PRESETS,
    CourseConfig,
    PublishedBackground,
    PublishedShape,
    UdfConfig,
    UpsamplingConfig,
)
from rilievo.methods.udf.model import UdfModel
from rilievo.methods.udf.module import UdfModule
from rilievo.methods.udf.outside import InvertedSphereVolume
from rilievo.methods.udf.rates import color_course, shape_course

RESOLUTION = 48


def psnr(run) -> float:
    return image_metrics(run)["mean"]["psnr"]


@pytest.fixture(scope="module")
def learned(fit, capture):
    return fit("udf", capture)


def test_sixty_steps_gain_two_decibels_on_a_photograph_that_was_held_out(learned, fit, capture):
    assert psnr(learned) > psnr(fit("udf", capture, "--steps", "1")) + 2


def test_the_surface_has_normals_and_the_objects_colours(learned):
    mesh = surface(learned, RESOLUTION)
    assert mesh.normals is not None
    assert mesh.colors is not None
    assert np.linalg.norm(mesh.normals, axis=-1).min() > 0.99
    assert np.linalg.norm(mesh.vertices - mesh.vertices.mean(0), axis=-1).max() < 1.5  # not the region's border


def test_the_field_is_compared_with_gaussians_that_saw_the_photographs_first(learned):
    header, *rows = (learned.workspace.log / "metrics.csv").read_text().splitlines()
    assert {f"loss/{name}" for name in ("near", "direction", "far", "depth", "normal")} <= set(header.split(","))
    near = [float(row.split(",")[header.split(",").index("loss/near")]) for row in rows]
    assert near[-1] < 0.5 * near[0]
    assert (learned.workspace.folder / "gaussians" / "preview").is_dir()


def test_a_capture_moved_and_scaled_gives_the_mesh_moved_and_scaled(fit, capture, moved_capture):
    steps = ("--steps", "5")
    here, there = (surface(fit("udf", scene, *steps), RESOLUTION) for scene in (capture, moved_capture))
    expected = here.vertices * 2.5 + [10, -4, 3]
    voxel = 2.5 * 2 * 1.7 / RESOLUTION
    assert np.abs(there.vertices.min(0) - expected.min(0)).max() < voxel / 2
    assert np.abs(there.vertices.max(0) - expected.max(0)).max() < voxel / 2


def test_without_masks_the_world_behind_is_learned_and_shown_where_no_surface_is(fit, uncut_capture):
    run = fit("udf", uncut_capture, "--steps", "12", "--region", "0", "0", "-0.2", "1.6")
    assert run.model.outside is not None
    seen = run.model.render(run.scene.cameras, 2)
    assert seen.background is not None
    assert seen.background.isfinite().all()
    bare = seen.opacity == 0
    assert 0 < bare.float().mean() < 1
    assert torch.allclose(seen.rgb[bare], seen.background[bare], atol=1e-6)


def test_every_loss_can_be_asked_for_and_is_finite(uncut_capture, tmp_path):
    names = ("rgb_l1", "sparsity", "one_sided")
    smoke = PRESETS["smoke"]
    weights = dataclasses.replace(smoke.losses, **dict.fromkeys(names, Constant(0.01)))
    config = dataclasses.replace(smoke, losses=weights, fit=dataclasses.replace(smoke.fit, steps=3))
    scene = load_scene(uncut_capture, region=(0.0, 0.0, -0.2, 1.6)).normalised()
    train(UdfModule(config, scene), scene, config.fit, Workspace(tmp_path))
    header, first = (tmp_path / "log" / "metrics.csv").read_text().splitlines()[:2]
    numbers = dict(zip(header.split(","), map(float, first.split(","))))
    assert {f"loss/{name}" for name in names} <= numbers.keys()
    assert np.isfinite(list(numbers.values())).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_the_run_folder(preset):
    assert config_file.parse(UdfConfig, config_file.render(PRESETS[preset])) == PRESETS[preset]


def test_samples_before_a_surface_hide_it_less_and_less(capture):
    config = PRESETS["smoke"]
    model = UdfModel(config, load_scene(capture).normalised())
    trust = []
    for step in (0, config.approach_step, config.first_surface_step):
        model.set_step(step)
        trust.append(model.widths.saturation)
    assert trust == [0.0, 0.9, 1.0]


def small_published(**changes):
    """The published networks, narrow, for a few steps on a tiny capture."""
    smoke, paper = PRESETS["smoke"], PRESETS["paper"]
    return dataclasses.replace(
        paper,
        fit=dataclasses.replace(smoke.fit, steps=6, samples=0, rays=64),
        published=PublishedShape(MlpConfig(width=48, hidden=4), features=8),
        color=MlpConfig(width=16, hidden=2),
        beyond=PublishedBackground(MlpConfig(width=16, hidden=6), samples=8),
        upsampling=UpsamplingConfig(even=16, more=12, rounds=2, kind=changes.pop("kind", "classical")),
        occupancy=smoke.occupancy,
        course=CourseConfig(warmup_steps=1, still_steps=1, second_step=4),
        losses=dataclasses.replace(paper.losses, rgb_base=Constant(0.1), mask=Constant(0.1)),
        **changes,
    )


@pytest.mark.parametrize("kind", ["classical", "mix"])
def test_the_published_networks_learn_in_two_phases(capture, tmp_path, kind):
    config = small_published(kind=kind)
    scene = load_scene(capture).normalised()
    module = train(UdfModule(config, scene), scene, config.fit, Workspace(tmp_path))
    header, *rows = (tmp_path / "log" / "metrics.csv").read_text().splitlines()
    assert "loss/rgb_base" in header
    assert all(np.isfinite([float(x) for x in row.split(",") if x]).all() for row in rows)
    assert module.model.widths.saturation == 1.0
    mesh = module.model.extract_mesh(32)
    assert mesh.colors is not None
    assert len(mesh.colors) == len(mesh.vertices) > 0


def test_the_published_networks_learn_the_world_behind_where_no_masks_cut_it_away(uncut_capture, tmp_path):
    config = small_published()
    plain = dataclasses.replace(config.losses, rgb_pixel=Constant(0.0), patch=Constant(0.0))
    config = dataclasses.replace(config, losses=plain)
    scene = load_scene(uncut_capture, region=(0.0, 0.0, -0.2, 1.6)).normalised()
    fresh = UdfModule(config, scene)
    assert isinstance(fresh.model.outside, InvertedSphereVolume)
    module = train(UdfModule(config, scene), scene, config.fit, Workspace(tmp_path))
    before = dict(fresh.model.outside.named_parameters())
    moved = [name for name, p in module.model.outside.named_parameters() if not torch.equal(p, before[name])]
    assert {"nerf.color.weight", "nerf.density.weight", "nerf.trunk.0.weight"} <= set(moved)
    seen = module.model.render(scene.cameras, 2)
    assert seen.background is not None
    assert seen.background.isfinite().all()


@pytest.mark.parametrize("hit", [True, False])
def test_the_published_background_begins_where_the_ball_ends_or_the_ray_is_closest_to_it(hit):
    volume = InvertedSphereVolume(PublishedBackground(MlpConfig(8, 1), samples=5), 0.1, torch.Generator())
    rays = Rays(torch.tensor([[0.0, 0.0 if hit else 1.5, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    start = torch.tensor([4.0 if hit else 0.1])
    early, late = (volume.march(rays, start, jitter) for jitter in (None, torch.tensor([0.9])))
    for samples in (early, late):
        assert len(samples) == 5
        assert samples.t_starts[0] > (4 if hit else 3)
        assert (samples.t_starts.diff() > 0).all()
    points = rays.origins + rays.directions * early.t_starts[:, None]
    assert (points.norm(dim=-1) > 1).all()
    assert not torch.equal(early.t_starts, late.t_starts)


@pytest.fixture(scope="module")
def published(golden):
    return json.loads((golden / "udf_schedules.json").read_text())


PHASES = ["udf_dtu_blending", "udf_dtu_blending_ft", "udf_garment_blending", "udf_garment_blending_ft"]


def published_phases(published, name=PHASES[0]):
    """Training settings of the first and of the second phase of the data set that a phase belongs to."""
    first = name.removesuffix("_ft")
    return tuple(published[phase]["train"] for phase in (first, first + "_ft"))


@pytest.mark.golden
@pytest.mark.parametrize("name", PHASES)
def test_published_learning_rates_in_both_phases(published, name):
    """The second phase of garments has one rate for all."""
    train_first, train_second = published_phases(published, name)
    course = CourseConfig(
        shape_rate=train_first["learning_rate_geo"],
        second_rate=train_second["learning_rate"],
        warmup_steps=train_first["warm_up_end"],
        still_steps=train_second.get("fix_geo_end", CourseConfig.still_steps),
        second_step=train_first["end_iter"],
    )
    steps, rate = train_first["end_iter"] + train_second["end_iter"], train_first["learning_rate"]
    shape, others = shape_course(course, steps), color_course(course, steps, rate)
    begin = course.second_step if published[name]["is_finetune"] else 0
    for row in published[name]["rows"]:
        step = begin + row["step"]
        assert rate * others(step) == pytest.approx(row["lr"], rel=1e-5, abs=1e-6 * rate)
        if published[name]["same_lr"]:
            assert row["lr_geo"] == row["lr"]
        else:
            of_shape = course.shape_rate * shape(step)
            assert of_shape == pytest.approx(row["lr_geo"], rel=1e-5, abs=1e-6 * course.shape_rate)


@pytest.mark.golden
@pytest.mark.parametrize("name", PHASES)
def test_published_weights_of_regularisers_begin_late_in_a_phase(published, name):
    """After a fifth of it the eikonal term near the surface, and sparsity after half of it; colours as they are, but
    for those that are worth less than the final one, which wait until the shape is there."""
    there = published[name]
    settings, color = there["train"], there["color_loss"]
    fifth, half = settings["end_iter"] // 5, settings["end_iter"] // 2
    near = Ramp(0.0, settings["igr_ns_weight"], 2 * fifth, fifth)
    sparsity = Ramp(0.0, settings["sparse_weight"], half, half - 1)
    late = Constant(1.0) if there["is_finetune"] else Ramp(0.0, 1.0, 20000, 10000)
    base = Constant(1.0) if color["color_base_weight"] >= color["color_weight"] else late
    for row in there["rows"]:
        step = row["step"]
        assert row["scheduled_igr_ns_and_sparse_weight"] == pytest.approx([near(step), sparsity(step)], abs=1e-9)
        weights = [color["color_base_weight"] * base(step), color["color_weight"]]
        weights += [color[f"color_{kind}_weight"] * late(step) for kind in ("pixel", "patch")]
        assert row["color_weights_base_color_pixel_patch"] == pytest.approx(weights, rel=1e-5, abs=1e-9)


@pytest.mark.golden
@pytest.mark.parametrize("name", PHASES)
def test_published_annealing_and_visibility(published, name, capture):
    first, _ = published_phases(published, name)
    config = dataclasses.replace(
        small_published(),
        course=CourseConfig(second_step=first["end_iter"]),
        cos_anneal_steps=first["anneal_end"],
        approach_step=2 * first["warm_up_end"],
        first_surface_step=first["end_iter"] // 2,
    )
    model = UdfModel(config, load_scene(capture).normalised())
    begin = config.course.second_step if published[name]["is_finetune"] else 0
    for row in published[name]["rows"]:
        model.set_step(begin + row["step"])
        assert model.widths.cos_anneal == pytest.approx(row["cos_anneal_ratio"], rel=1e-5)
        assert model.widths.saturation == pytest.approx(row["flip_saturation"])


@pytest.mark.golden
def test_the_paper_preset_has_the_published_networks_and_samples(published):
    paper, there = PRESETS["paper"], published["udf_dtu_blending"]
    shape, color, renderer = (there["model"][k] for k in ("udf_network", "rendering_network", "udf_renderer"))
    assert paper.published.network == MlpConfig(width=shape["d_hidden"], hidden=shape["n_layers"])
    assert (paper.published.features, paper.published.frequencies) == (shape["d_out"] - 1, shape["multires"])
    assert shape["skip_in"] == [shape["n_layers"] // 2]
    assert (paper.sphere_radius, paper.kind) == (shape["bias"], shape["udf_type"])
    assert paper.color == MlpConfig(width=color["d_hidden"], hidden=color["n_layers"])
    assert (paper.upsampling.even, paper.upsampling.more) == (renderer["n_samples"], renderer["n_importance"])
    assert (paper.upsampling.rounds, paper.upsampling.kind) == (
        renderer["up_sample_steps"],
        renderer["upsampling_type"],
    )
    assert (paper.outside_kind, paper.beyond.samples) == ("published", renderer["n_outside"])
    assert paper.beyond.network == MlpConfig(width=there["model"]["nerf"]["W"], hidden=there["model"]["nerf"]["D"])
    assert paper.unit_slope == renderer.get("use_norm_grad_for_cosine", False)
    first, second = published_phases(published)
    course = paper.course
    assert (course.warmup_steps, course.still_steps) == (first["warm_up_end"], second["fix_geo_end"])
    assert (course.second_step, paper.fit.steps) == (first["end_iter"], first["end_iter"] + second["end_iter"])
    assert (paper.optim.rate, course.shape_rate) == (first["learning_rate"], first["learning_rate_geo"])
    assert course.second_rate == second["learning_rate"]
    assert (paper.cos_anneal_steps, paper.approach_step) == (first["anneal_end"], 2 * first["warm_up_end"])
    assert paper.first_surface_step == first["end_iter"] // 2
    for row in there["rows"]:
        weights = [paper.losses.rgb_base(row["step"]), paper.losses.rgb_l1(row["step"])]
        assert weights == pytest.approx(row["color_weights_base_color_pixel_patch"][:2], rel=1e-5, abs=1e-9)
    assert paper.fit.rays == there["train"]["batch_size"]
    assert paper.losses.eikonal(0) == there["train"]["igr_weight"]
    assert paper.losses.eikonal_near(0) == there["train"]["igr_ns_weight"]
    beta = there["model"]["beta_network"]
    assert (paper.sharpness, paper.crossing_sharpness) == (
        there["model"]["variance_network"]["init_val"],
        beta["init_var_beta"],
    )


def test_patches_of_other_photographs_are_compared_in_the_second_phase(capture, tmp_path):
    config = small_published()
    config = dataclasses.replace(config, half_patch=1, sources=3, background_color="white")
    scene = load_scene(capture).normalised()
    module = UdfModule(config, scene)
    out, batch = rendered(module, 32)
    assert module._seen_elsewhere(batch, out.surface, 3) == {}
    values = module._seen_elsewhere(batch, out.surface, 5)
    assert values["patch"].isfinite().all()
    (values["patch"].mean() + values["rgb_pixel"].sum()).backward()
    assert any(p.grad is not None and p.grad.any() for p in module.model.geometry.parameters())
    train(UdfModule(config, scene), scene, config.fit, Workspace(tmp_path))
    assert "loss/patch" in (tmp_path / "log" / "metrics.csv").read_text()


def test_photos_that_bend_lines_are_refused_where_patches_are_compared(capture):
    scene = load_scene(capture).normalised()
    bent = dataclasses.replace(scene.cameras, distortion=torch.full_like(scene.cameras.distortion, 0.01))
    scene = dataclasses.replace(scene, cameras=bent)
    with pytest.raises(UserError, match="pinhole cameras, without distortion"):
        UdfModule(small_published(), scene)
    plain = dataclasses.replace(small_published().losses, rgb_pixel=Constant(0.0), patch=Constant(0.0))
    assert UdfModule(dataclasses.replace(small_published(), losses=plain), scene).others is None


def rendered(module, rays):
    """What a module shows of a batch towards the middle of the capture."""
    module.model.set_step(10)
    batch = PatchSampler(module.sampler.scene, half=1, importance=True, seed=1).batch(0, rays)
    return module.model(batch.rays, batch.background), batch


@pytest.mark.golden
def test_the_paper_preset_compares_patches_in_its_second_phase_as_published(published):
    losses = PRESETS["paper"].losses
    begin = PRESETS["paper"].course.second_step
    first, second = (published[name]["rows"][-1] for name in ("udf_dtu_blending", "udf_dtu_blending_ft"))
    assert first["color_weights_base_color_pixel_patch"][2:] == [0, 0]
    assert [losses.rgb_pixel(begin), losses.patch(begin)] == second["color_weights_base_color_pixel_patch"][2:]
