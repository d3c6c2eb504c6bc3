"""Parameter groups, and schedules that drive them."""

import io
import json

import pytest
import torch
from torch import nn

from rilievo.engine.optim import adamw, follow
from rilievo.engine.schedules import Exponential, warmup
from rilievo.engine.settings import OptimConfig


def model() -> nn.ModuleDict:
    return nn.ModuleDict({"geometry": nn.Linear(2, 2), "variance": nn.Linear(1, 1)})


def test_each_part_learns_at_its_own_rate():
    optimizer = adamw(model(), {"geometry": 0.01, "variance": 0.001}, weight_decay={"variance": 0.0})
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        ("geometry", 0.01, 0.01),
        ("variance", 0.001, 0.0),
    ]


def test_one_rate_serves_the_whole_model():
    net = model()
    (group,) = adamw(net, {"": 0.01}).param_groups
    assert len(group["params"]) == len(list(net.parameters()))


def test_a_part_without_a_rate_is_an_error_not_a_part_untrained():
    with pytest.raises(ValueError, match=r"variance\.weight"):
        adamw(model(), {"geometry": 0.01})


def test_a_part_named_twice_is_an_error():
    with pytest.raises(ValueError, match="share parameters"):
        adamw(model(), {"": 0.01, "geometry": 0.01})


def test_a_misspelled_part_is_an_error():
    with pytest.raises(AttributeError, match="geometri"):
        adamw(model(), {"geometri": 0.01, "variance": 0.01})


def test_rates_follow_the_schedule_from_the_first_update():
    rate = warmup(3, then=Exponential(10))
    optimizer = adamw(model(), {"geometry": 0.01, "variance": 0.001})
    scheduler = follow(optimizer, rate)
    for step in range(8):
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.01 * rate(step), 0.001 * rate(step)])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("stairs", [(), (30, 60)])
def test_a_cooldown_takes_the_rates_straight_to_nothing_at_the_end(stairs):
    steps = 100
    usual = OptimConfig(warmup_steps=10, stairs=stairs).schedule(steps)
    cooled = OptimConfig(warmup_steps=10, stairs=stairs, cooldown_steps=20).schedule(steps)
    for step in range(81):
        assert cooled(step) == usual(step)
    assert cooled(90) == pytest.approx(usual(90) / 2)
    assert cooled(100) == 0
    assert OptimConfig(cooldown_steps=500).schedule(steps)(0) == 1  # longer than the course: all of it cools down


def test_a_resumed_schedule_goes_on_where_it_stopped_and_its_state_is_plain():
    def start():
        optimizer = adamw(model(), {"": 0.01})
        return optimizer, follow(optimizer, warmup(3, then=Exponential(10)))

    optimizer, scheduler = start()
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed, resumed_scheduler = start()
    resumed.load_state_dict(state["optimizer"])
    resumed_scheduler.load_state_dict(state["scheduler"])
    for a, b in ((optimizer, scheduler), (resumed, resumed_scheduler)):
        a.step()
        b.step()
    assert resumed.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


@pytest.mark.golden
def test_optimiser_settings_are_the_published_ones(golden):
    for name, config in json.loads((golden / "schedules.json").read_text())["configs"].items():
        assert config["optimizer"] == "AdamW"
        parts = [group["name"] for group in config["param_groups"]]
        net = nn.ModuleDict({part: nn.Linear(1, 1) for part in parts})
        for ours, theirs in zip(adamw(net, dict.fromkeys(parts, 0.01)).param_groups, config["param_groups"]):
            assert {key: ours[key] for key in ("name", "weight_decay", "eps")} == {
                key: theirs[key] for key in ("name", "weight_decay", "eps")
            }, name
            assert list(ours["betas"]) == theirs["betas"], name
