"""Numbers that change with the step."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from rilievo.engine.config_file import parse, render
from rilievo.engine.schedules import (
    Constant,
    Cosine,
    Exponential,
    Product,
    Ramp,
    Rate,
    Schedule,
    Sequence,
    Stairs,
    hold,
    next_ray_count,
    warmup,
)
from rilievo.errors import UserError


@dataclass(frozen=True)
class Settings:
    """A config with both kinds of schedule in it."""

    weight: Schedule
    rate: Rate


def test_importing_schedules_does_not_wake_torch():
    code = "import sys, rilievo.engine.schedules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_ramp_is_level_before_and_after():
    ramp = Ramp(start=1.0, end=3.0, start_step=10, end_step=20)
    assert [ramp(step) for step in (0, 10, 15, 20, 99)] == [1.0, 1.0, 2.0, 3.0, 3.0]


def test_a_sequence_is_continuous_where_warmup_meets_decay():
    rate = warmup(100, then=Exponential(steps=1000))
    assert rate(99) == pytest.approx(1.0, abs=0.02)
    assert rate(100) == 1.0
    assert rate(1100) == pytest.approx(0.1)


def test_a_sequence_hands_over_at_every_milestone():
    rate = Sequence((Constant(1.0), Constant(2.0), Exponential(10, end=0.5)), milestones=(5, 7))
    assert [rate(step) for step in (0, 4, 5, 6, 7, 17)] == [1.0, 1.0, 2.0, 2.0, 1.0, 0.5]


def test_a_cosine_falls_by_half_in_half_the_time_and_stays_down():
    cosine = Cosine(steps=100, end=0.1)
    assert cosine(0) == 1.0
    assert cosine(50) == pytest.approx(0.55)
    assert cosine(100) == cosine(500) == pytest.approx(0.1)


def test_a_product_of_rates_multiplies_them():
    rate = Product((Ramp(0.0, 1.0, end_step=10), Stairs((5,), gamma=0.5)))
    assert [rate(step) for step in (0, 4, 5, 20)] == [0.0, 0.4, 0.25, 0.5]


def test_the_ray_count_settles_where_samples_meet_their_target():
    rays = 256
    for _ in range(200):
        rays = next_ray_count(rays, samples=rays * 50, target_samples=40_000, max_rays=8192)
    assert 0.97 * 800 <= rays <= 800


def test_the_ray_count_survives_an_empty_scene_and_a_crowded_one():
    assert next_ray_count(256, samples=0, target_samples=1000, max_rays=512) == 512
    rays = 256
    for _ in range(500):
        rays = next_ray_count(rays, samples=rays * 10**6, target_samples=10, max_rays=512)
    assert rays == 1


def test_a_ramp_without_steps_is_told_to_the_user():
    with pytest.raises(UserError, match="end_step after start_step 10"):
        Ramp(0.0, 1.0, end_step=10, start_step=10)


@pytest.mark.parametrize("milestones", [(), (5, 3), (1, 2, 3)])
def test_a_sequence_whose_milestones_do_not_fit_is_told_to_the_user(milestones):
    with pytest.raises(UserError, match="one milestone between"):
        Sequence((Constant(), Constant(), Constant()), milestones)


def test_rates_and_schedules_come_back_from_a_config_file_as_they_were():
    settings = Settings(weight=Ramp(0.0, 1.0, 500), rate=warmup(3, Product((Stairs((5, 6)), Cosine(7)))))
    assert parse(Settings, render(settings)) == settings


@pytest.fixture
def published(golden):
    return json.loads((golden / "schedules.json").read_text())


def decay(steps: int, warmup_steps: int) -> Exponential:
    """To a tenth at the end of training."""
    return Exponential(steps - warmup_steps)


RECIPES = {
    "neus-blender": lambda steps: warmup(500, decay(steps, 500)),
    "neus-colmap": lambda steps: warmup(500, decay(steps, 500)),
    "neus-dtu": lambda steps: hold(5000, decay(steps, 5000)),
    "neus-dtu-wmask": lambda steps: hold(5000, decay(steps, 5000)),
    "neuralangelo-dtu-wmask": lambda steps: hold(5000, decay(steps, 5000)),
    "nerf-blender": lambda steps: Stairs((10000, 15000, 18000), gamma=0.33),
    "nerf-colmap": lambda steps: Stairs((10000, 15000, 18000), gamma=0.33),
}


@pytest.mark.golden
@pytest.mark.parametrize("name", RECIPES)
def test_learning_rates_are_the_published_ones(published, name):
    config = published["configs"][name]
    rate = RECIPES[name](config["max_steps"])
    base = [0.001 if group["name"] == "variance" else 0.01 for group in config["param_groups"]]
    for step, expected in config["lr_at_step"].items():
        assert [lr * rate(int(step)) for lr in base] == pytest.approx(expected, rel=1e-9), step


@pytest.mark.golden
def test_every_published_configuration_has_a_recipe(published):
    assert set(published["configs"]) == set(RECIPES)


@pytest.mark.golden
def test_scalar_schedules_are_the_published_ones(published):
    """There, a list of three or four numbers is a ramp, and a fractional end makes it count epochs."""
    for case in published["scalar_schedule_C"]:
        value = case["value"]
        if not isinstance(value, list):
            schedule, counts_epochs = Constant(float(value)), False
        else:
            begin, start, end, end_step = value if len(value) == 4 else [0, *value]
            counts_epochs = isinstance(end_step, float)
            schedule = Ramp(float(start), float(end), int(end_step), start_step=int(begin))
        for step, epoch, expected in case["rows_step_epoch_result"]:
            assert schedule(epoch if counts_epochs else step) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.golden
def test_ray_counts_are_the_published_ones(published):
    for case in published["dynamic_ray_count"].values():
        rays, *expected = case["train_num_rays_sequence"]
        for samples, wanted in zip(case["sample_counts"], expected):
            rays = next_ray_count(rays, samples, case["train_num_samples"], case["max_train_num_rays"])
            assert rays == wanted
