"""Configs survive the trip to YAML and back; mistakes in the file are named."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rilievo.engine.config_file import kind, parse, render
from rilievo.errors import UserError


class Background(StrEnum):
    WHITE = "white"
    RANDOM = "random"


@dataclass(frozen=True)
class Constant:
    value: float = 1.0


@dataclass(frozen=True)
class LinearRamp:
    start: float = 0.0
    end: float = 1.0
    steps: tuple[int, int] = (0, 1000)


@dataclass(frozen=True)
class Optimiser:
    lr: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    schedule: Constant | LinearRamp = Constant()


@dataclass(frozen=True)
class Config:
    steps: int
    name: str = "neus"
    background: Background = Background.RANDOM
    hidden: tuple[int, ...] = (64, 64)
    seed: int | None = None
    texture: Path | None = None
    finite: Literal["analytic", "finite"] = "analytic"
    optimiser: Optimiser = field(default_factory=Optimiser)
    weight: float | LinearRamp = 0.1
    schedules: tuple[Constant | LinearRamp, ...] = ()
    closed: bool = True


schedules = st.one_of(
    st.builds(Constant, value=st.floats(allow_nan=False)),
    st.builds(LinearRamp, start=st.floats(allow_nan=False), end=st.floats(allow_nan=False)),
)
configs = st.builds(
    Config,
    steps=st.integers(),
    name=st.text(st.characters(codec="utf-8")) | st.sampled_from(["1e-3", "null", "yes", "0x10", "~", "1_000"]),
    background=st.sampled_from(Background),
    hidden=st.lists(st.integers(), max_size=4).map(tuple),
    seed=st.none() | st.integers(),
    texture=st.none() | st.sampled_from([Path("a/b.png"), Path("1e-3")]),
    finite=st.sampled_from(["analytic", "finite"]),
    optimiser=st.builds(Optimiser, lr=st.floats(allow_nan=False), schedule=schedules),
    weight=st.floats(allow_nan=False) | st.builds(LinearRamp),
    schedules=st.lists(schedules, max_size=3).map(tuple),
    closed=st.booleans(),
)


@given(configs)
def test_reading_inverts_writing(config):
    assert parse(Config, render(config)) == config


def test_infinity_survives():
    assert math.isinf(parse(Constant, render(Constant(math.inf))).value)


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("1.5E+2", 150.0), ("2", 2.0), ("-.5e1", -5.0)])
def test_floats_may_be_written_as_people_write_them(text, value):
    assert parse(Constant, f"value: {text}") == Constant(value)


def test_defaults_fill_what_the_file_leaves_out():
    assert parse(Config, "steps: 5") == Config(5)


def test_a_class_in_a_union_is_known_by_its_name_in_kebab_case():
    assert kind(LinearRamp) == "linear-ramp"
    read = parse(Optimiser, "schedule: {kind: linear-ramp, end: 3}")
    assert read.schedule == LinearRamp(end=3.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: 5\noptimiser: {lrr: 0.1}", "optimiser.lr'"),
        ("steps: 5\noptimiser: {lrr: 0.1}", "run/config.yaml"),
        ("stepz: 5", "did you mean 'steps'"),
        ("{}", "steps: expected a value"),
        ("steps: 5.5", "steps: expected a whole number, got 5.5"),
        ("steps: true", "steps: expected a whole number, got True"),
        ("steps: 5\nclosed: 1", "closed: expected true or false"),
        ("steps: 5\nhidden: 64", "hidden: expected a list"),
        ("steps: 5\nhidden: [64, a]", r"hidden\[1\]"),
        ("steps: 5\nbackground: blue", "one of white, random"),
        ("steps: 5\nfinite: numeric", "one of 'analytic', 'finite'"),
        ("steps: 5\noptimiser: {betas: [1, 2, 3]}", "optimiser.betas: expected a list of 2 values"),
        ("steps: 5\noptimiser: {schedule: {kind: cosine}}", "one of constant, linear-ramp"),
        ("steps: 5\noptimiser: {schedule: {end: 1}}", "optimiser.schedule.kind"),
        ("steps: 5\nweight: heavy", "weight: expected a number or LinearRamp"),
        ("steps: [5", "expected YAML, got a mistake in line"),
        ("just text", "expected the settings of Config"),
        ("steps: !!python/object/apply:os.getcwd []", "expected YAML"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(text, said):
    with pytest.raises(UserError, match=said):
        parse(Config, text, where="run/config.yaml")


def test_values_that_contradict_each_other_are_the_users_mistake():
    @dataclass(frozen=True)
    class Range:
        near: float
        far: float

        def __post_init__(self) -> None:
            if self.far <= self.near:
                raise ValueError(f"far must exceed near, got {self.near} and {self.far}")

    with pytest.raises(UserError, match="far must exceed near"):
        parse(Range, "{near: 2, far: 1}")
