"""A course of training squeezed into fewer steps."""

from dataclasses import dataclass, replace

import pytest

from rilievo.engine.schedules import Constant, Ramp, Schedule
from rilievo.engine.settings import FitConfig, HashGridConfig, OptimConfig
from rilievo.methods.neus.config import PRESETS
from rilievo.stretch import stretched


@dataclass(frozen=True)
class Config:
    fit: FitConfig = FitConfig(steps=2000)
    optim: OptimConfig = OptimConfig(warmup_steps=100, stairs=(500, 1500))
    weight: Schedule = Ramp(0.0, 1.0, 1000)
    still: Schedule = Constant(2.0)
    grid: HashGridConfig = HashGridConfig(update_steps=150)


def test_what_happens_at_a_step_moves_along_and_nothing_else_does():
    expected = Config(
        FitConfig(steps=2000),
        OptimConfig(warmup_steps=25, stairs=(125, 375)),
        Ramp(0.0, 1.0, 250),
        Constant(2.0),
        HashGridConfig(update_steps=38),
    )
    assert stretched(Config(), 0.25) == expected


@pytest.mark.parametrize("factor", [0.1, 0.5, 3.0])
def test_a_schedule_passes_the_same_values_in_its_own_time(factor):
    config = stretched(Config(), factor)
    for step in (0, 500, 1000, 1900):
        assert config.weight(round(step * factor)) == pytest.approx(Config().weight(step))
    rate, longer = Config().optim.schedule(2000), config.optim.schedule(round(2000 * factor))
    assert longer(round(1000 * factor)) == pytest.approx(rate(1000))


def test_no_moment_but_the_start_becomes_the_start():
    squeezed = stretched(Config(), 1e-6)
    assert squeezed.optim.warmup_steps == 1
    assert squeezed.weight.start_step == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_by_one_nothing_changes(preset):
    assert stretched(PRESETS[preset], 1.0) == PRESETS[preset]


def test_a_grid_opens_all_its_levels_within_a_short_run():
    config = PRESETS["fast"]
    short = stretched(config, 0.2)
    opened = short.grid.start_level + config.fit.steps * 0.2 // short.grid.update_steps
    assert opened >= short.grid.levels
    assert replace(short.grid, update_steps=config.grid.update_steps) == config.grid
