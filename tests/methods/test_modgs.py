"""A patch that slides before a wall, seen by a camera that slides too: motion, depth and both stages of modgs."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from rilievo.cli import main
from rilievo.cli.evaluate import image_metrics
from rilievo.data.load import load_scene
from rilievo.engine import checkpoint, config_file
from rilievo.engine.fit import fit as train
from rilievo.engine.run import open_run
from rilievo.engine.workspace import Workspace
from rilievo.errors import UserError
from rilievo.methods.modgs import stage1
from rilievo.methods.modgs.clip import read_clip
from rilievo.methods.modgs.config import PRESETS, ModgsConfig
from rilievo.methods.modgs.depths import aligned_depths, moving_pixels
from rilievo.methods.modgs.module import ModgsModule
from rilievo.methods.modgs.moment import MIDDLE, Moments
from rilievo.methods.modgs.motion_file import load_stage
from rilievo.methods.modgs.pairs import FlowPairs
from rilievo.methods.modgs.stage1 import build_motion, first_stage, train_motion
from rilievo.motion.objective import Correspondences, motion_losses
from rilievo.stretch import stretched

from .sliding_clip import FRAMES, PATCH, SLANT, WALL, eye, patch_center, photograph, true_depths

SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def learned(fit, clip_folder):
    return fit("modgs", clip_folder)


def prepared(folder, config=SMOKE):
    scene = load_scene(folder).normalised()
    clip = read_clip(scene)
    return scene, clip, FlowPairs(clip, config.clip)


def test_distorted_depth_comes_back_to_the_scale_of_the_cameras(clip_folder):
    scene, clip, flows = prepared(clip_folder, dataclasses.replace(SMOKE, clip=PRESETS["fast"].clip))
    depths, truth = aligned_depths(clip, flows, ~clip.moving), true_depths(scene)
    error = (depths / truth - 1).abs()
    assert error[~clip.moving].median() < 0.01
    assert error[clip.moving].median() < 0.1


def test_what_moves_is_found_without_masks(unmarked_folder):
    scene, clip, flows = prepared(unmarked_folder, dataclasses.replace(SMOKE, clip=PRESETS["fast"].clip))
    truth = true_depths(scene)
    moving = moving_pixels(clip, flows, truth)
    patch = torch.tensor(np.stack([photograph(eye(i), i / 7)[2] for i in range(FRAMES)]))
    assert (moving & patch).sum() > 0.6 * (moving | patch).sum()


def test_motion_learns_a_translation_and_carries_points_it_has_not_seen():
    generator = torch.Generator().manual_seed(0)
    times = [i / 5 for i in range(6)]
    shift = torch.tensor([0.5, -0.2, 0.3])
    pairs = {}
    for i, start in enumerate(times):
        for j, end in enumerate(times):
            if i != j:
                source = torch.rand(100, 3, generator=generator) - 0.5
                pairs[i, j] = Correspondences(source, source + (end - start) * shift, start, end)
    config = dataclasses.replace(SMOKE, motion=dataclasses.replace(SMOKE.motion, steps=80))
    motion = build_motion(config.motion, 0)
    history = train_motion(config, motion, pairs, 6)
    assert history[-20:].mean() < 0.1 * history[:5].mean()
    fresh = torch.rand(1, 50, 3, generator=generator) - 0.5
    arrived = motion.carry(fresh, torch.tensor([0.2]), torch.tensor([0.8]))
    assert (arrived - fresh - 0.6 * shift).norm(dim=-1).median() < 0.1


def test_training_gains_on_views_that_were_held_out(learned, clip_folder, tmp_path):
    folder = shutil.copytree(learned.workspace.folder, tmp_path / "first")  # whose first stage is done
    shutil.rmtree(folder / "checkpoints")
    command = ["fit", "modgs", str(clip_folder), "-o", str(folder), "--preset", "smoke", "--resume", "--steps", "1"]
    assert main(command) == 0
    first = open_run(folder, device="cpu")
    assert image_metrics(learned)["mean"]["psnr"] > image_metrics(first)["mean"]["psnr"] + 2


def test_tracks_follow_the_patch_and_leave_the_wall(learned):
    model, scene = learned.model, learned.scene
    scale = float(scene.capture_from_world[:3, :3].norm() / 3**0.5)
    offsets = np.stack(np.meshgrid([-0.2, 0.0, 0.2], [-0.2, 0.0, 0.2]), axis=-1).reshape(-1, 2)

    def in_world(xy, z):
        points = np.concatenate([xy, np.full((len(xy), 1), z)], axis=1)
        return torch.tensor((points - scene.capture_from_world[:3, 3].numpy()) / scale).float()

    times = torch.tensor([2 / 7, 4 / 7])
    begun = in_world(offsets + patch_center(2 / 7), PATCH)
    arrived = model.track(begun, 2 / 7, times)
    torch.testing.assert_close(arrived[0], begun, atol=1e-4, rtol=0)
    there = in_world(offsets + patch_center(4 / 7), PATCH)
    assert (arrived[1] - there).norm(dim=1).median() < 0.6 * (there - begun).norm(dim=1).median()
    wall = torch.cat([in_world(np.array([[x, y]]), WALL + SLANT * x) for x, y in ((-1.0, -0.7), (1.0, 0.7))])
    assert torch.equal(model.track(wall, 0.0, times), wall.expand(2, 2, 3))


def test_a_view_of_the_capture_is_shown_at_the_time_of_its_photo(learned):
    cameras, (first, second) = learned.scene.cameras, learned.scene.test_views
    moments = Moments(cameras.world_from_cam, learned.scene.times)
    assert [moments.of(cameras, i) for i in range(len(cameras))] == learned.scene.times.tolist()
    assert moments.of(cameras[[first, second]], 1) == pytest.approx(5 / 7)
    moved = cameras[first].transformed(torch.diag(torch.tensor([2.0, 2, 2, 1]).double()))
    assert moments.of(moved, 0) == MIDDLE
    early, late = (learned.model.render(cameras, first, time).rgb for time in (0.0, 1.0))
    assert (early - late).abs().mean() > 0.005


@pytest.mark.parametrize("strategy", ["relocate", "densify"])
def test_a_resumed_run_has_the_state_of_an_unbroken_one(strategy, clip_folder, tmp_path):
    flags = ["--strategy", strategy, "--fit.checkpoint-every", "7", "--motion.steps", "5", "--fit.steps", "15"]
    flags += ["--densify.start", "2", "--densify.every", "4", "--densify.grad-threshold", "1e-6"]
    flags += ["--densify.max-gaussians", "2500"]
    command = ["fit", "modgs", str(clip_folder), "--preset", "smoke", *flags]
    assert main([*command, "-o", str(tmp_path / "a")]) == 0
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "checkpoints" / "step-15.ckpt").unlink()
    assert main([*command, "-o", str(tmp_path / "b"), "--resume"]) == 0
    one, other = (checkpoint.read(tmp_path / run / "checkpoints" / "step-15.ckpt")["state_dict"] for run in "ab")
    assert one.keys() == other.keys()
    assert all(torch.equal(values, other[name]) for name, values in one.items())


@pytest.fixture(scope="module")
def all_moves(clip_folder, tmp_path_factory):
    """Settings of three steps in which nothing is held to stand still, and a folder with their first stage."""
    config, folder = stretched(SMOKE, 0.1), tmp_path_factory.mktemp("all-moves")
    config = dataclasses.replace(
        config, fit=dataclasses.replace(config.fit, steps=3), clip=dataclasses.replace(config.clip, split=False)
    )
    first_stage(config, load_scene(clip_folder).normalised(), folder)
    return config, folder


@pytest.mark.parametrize("order", ["ranking", "pearson", "pearson-either"])
def test_everything_may_move_and_depth_be_compared_in_every_way(order, all_moves, clip_folder, tmp_path):
    config, folder = all_moves
    config = dataclasses.replace(config, depth_order=order)
    scene = load_scene(clip_folder).normalised()
    motion, start = first_stage(config, scene, folder)
    module = train(ModgsModule(config, scene, motion, start), scene, config.fit, Workspace(tmp_path))
    assert not len(module.model.still)
    assert all(bool(values.isfinite().all()) for values in module.model.state_dict().values())


def test_a_first_stage_that_was_cut_off_goes_on_where_it_was(clip_folder, tmp_path, monkeypatch):
    config = dataclasses.replace(SMOKE, motion=dataclasses.replace(SMOKE.motion, steps=16))
    scene = load_scene(clip_folder).normalised()
    whole, start = first_stage(config, scene, tmp_path / "whole")
    monkeypatch.setattr(stage1, "prepare", lambda config, scene: start)
    done = 0

    def cut_off(*arguments):
        nonlocal done
        done += 1
        if done == 12:
            raise KeyboardInterrupt
        return motion_losses(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stage1, "motion_losses", cut_off)
        with pytest.raises(KeyboardInterrupt):
            first_stage(config, scene, tmp_path / "cut")
    _, progress = load_stage(tmp_path / "cut" / "motion.pt", build_motion(config.motion, 0))
    assert progress.step == 10
    resumed, _ = first_stage(config, scene, tmp_path / "cut")
    _, progress = load_stage(tmp_path / "cut" / "motion.pt", build_motion(config.motion, 0))
    assert progress is None
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(resumed.parameters(), whole.parameters()))


def test_a_first_stage_of_other_settings_is_refused(learned):
    path = learned.workspace.folder / "motion.pt"
    with pytest.raises(UserError, match="the first stage of a run with these settings"):
        load_stage(path, build_motion(PRESETS["fast"].motion, 0))


def test_pixels_without_depth_are_left_out(spoiled, tmp_path):
    depth = np.load(spoiled / "depth_mono" / "003.npz")["depth"].astype(np.float32)
    depth[:20] = np.nan
    np.savez(spoiled / "depth_mono" / "003.npz", depth=depth)
    config = stretched(SMOKE, 0.1)
    _, start = first_stage(config, load_scene(spoiled).normalised(), tmp_path)
    assert not start.depths[3, :20].any()
    assert bool(start.still.xyz.isfinite().all())
    assert bool(start.moving.xyz.isfinite().all())


def test_a_shorter_run_shortens_both_stages():
    half = stretched(PRESETS["fast"], 0.5)
    assert half.motion.steps == PRESETS["fast"].motion.steps // 2
    assert half.relocation.end == PRESETS["fast"].relocation.end // 2


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_the_run_folder(preset):
    assert config_file.parse(ModgsConfig, config_file.render(PRESETS[preset])) == PRESETS[preset]
