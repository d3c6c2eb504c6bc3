"""Training goes on where it was cut off as if it had never been: killed, resumed, and compared bit by bit."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rilievo.cli import main
from rilievo.engine import checkpoint
from rilievo.engine.fit import accelerator
from rilievo.engine.metrics_file import MetricsFile
from rilievo.engine.settings import FitConfig
from rilievo.engine.workspace import Workspace
from rilievo.errors import UserError

STEPS, EVERY, LOG_EVERY = 40, 10, 4
HEARD_BEFORE = signal.getsignal(signal.SIGINT)


def command(method: str, capture: Path, run: Path) -> list[str]:
    settings = {"--preset": "smoke", "--steps": STEPS, "--fit.checkpoint-every": EVERY, "--fit.log-every": LOG_EVERY}
    return ["fit", method, str(capture), "-o", str(run), *(str(word) for flag in settings.items() for word in flag)]


def hear_ctrl_c() -> None:
    """Whatever started the tests may ignore Ctrl-C, and a program started by them would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin_and_signal(arguments: list[str], run: Path, what: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Start the command as a user does, wait for its first checkpoint, and send it a signal."""
    begun = subprocess.Popen(
        [sys.executable, "-m", "rilievo.cli", *arguments], stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    )
    limit = time.monotonic() + 90
    while not (run / "checkpoints" / f"step-{EVERY}.ckpt").exists() and begun.poll() is None:
        assert time.monotonic() < limit, "no checkpoint within 90 s"
        time.sleep(0.002)
    os.kill(begun.pid, what)
    _, told = begun.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, begun.returncode, "", told)


def tensors(value, where=""):
    """Every tensor and number of a checkpoint by its path; not how often hooks were called."""
    if isinstance(value, torch.Tensor | int | float):
        yield where, torch.as_tensor(value)
    elif isinstance(value, dict):
        for name, part in value.items():
            if (where, name) != ("", "loops"):
                yield from tensors(part, f"{where}/{name}")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from tensors(part, f"{where}/{i}")


def assert_same_state(a: Path, b: Path) -> None:
    one, other = (dict(tensors(checkpoint.read(path))) for path in (a, b))
    assert one.keys() == other.keys()
    assert any("exp_avg_sq" in name for name in one)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "log" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module", params=["neus", "nerf"])
def unbroken(request, capture, tmp_path_factory):
    """A method and a run of it that nothing disturbed."""
    run = tmp_path_factory.mktemp("unbroken") / request.param
    assert main(command(request.param, capture, run)) == 0
    return request.param, run


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_very_state_of_an_unbroken_one(unbroken, capture, tmp_path):
    method, expected = unbroken
    run = tmp_path / "run"
    arguments = command(method, capture, run)
    assert begin_and_signal(arguments, run, signal.SIGKILL).returncode == -signal.SIGKILL
    reached = Workspace.open(run).latest_checkpoint()
    assert reached is not None
    assert int(reached.stem.removeprefix("step-")) < STEPS
    assert main([*arguments, "--resume"]) == 0
    assert_same_state(run / "checkpoints" / f"step-{STEPS}.ckpt", expected / "checkpoints" / f"step-{STEPS}.ckpt")
    assert metrics(run) == metrics(expected)


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_of_the_last_step_from_which_the_run_goes_on_unchanged(unbroken, capture, tmp_path):
    method, expected = unbroken
    run = tmp_path / "run"
    arguments = command(method, capture, run)
    ended = begin_and_signal(arguments, run, signal.SIGINT)
    assert ended.returncode == 130
    assert "--resume" in ended.stderr
    assert "Traceback" not in ended.stderr
    reached = Workspace.open(run).latest_checkpoint()
    assert reached is not None
    step = int(reached.stem.removeprefix("step-"))
    assert EVERY <= step < STEPS
    assert metrics(run) == [row for row in metrics(expected) if int(row["step"]) < step]
    assert main([*arguments, "--resume"]) == 0
    assert_same_state(run / "checkpoints" / f"step-{STEPS}.ckpt", expected / "checkpoints" / f"step-{STEPS}.ckpt")
    assert metrics(run) == metrics(expected)


def test_metrics_have_a_row_every_few_steps_and_the_last_two_checkpoints_are_kept(unbroken):
    _, run = unbroken
    assert [int(row["step"]) for row in metrics(run)] == list(range(0, STEPS, LOG_EVERY))
    kept = {p.name for p in (run / "checkpoints").iterdir()}
    assert kept == {f"step-{STEPS - EVERY}.ckpt", f"step-{STEPS}.ckpt"}
    assert {"scene.png", f"step-{STEPS:06d}.png"} <= {p.name for p in (run / "preview").iterdir()}


def test_ctrl_c_is_heard_as_before_when_training_has_ended(unbroken):
    assert signal.getsignal(signal.SIGINT) is HEARD_BEFORE


def test_a_row_that_is_logged_again_replaces_itself_and_what_came_after(tmp_path):
    table = MetricsFile(tmp_path / "metrics.csv")
    for step in (0, 5, 10, 15):
        table.log_metrics({"loss": float(step)}, step=step)
    table.save()
    resumed = MetricsFile(tmp_path / "metrics.csv")
    resumed.log_metrics({"loss": 0.5, "mask": 2.0}, step=10)
    resumed.finalize("success")
    assert (tmp_path / "metrics.csv").read_text().split() == ["step,loss,mask", "0,0.0,", "5,5.0,", "10,0.5,2.0"]


def test_a_table_of_something_else_is_not_written_over(tmp_path):
    (tmp_path / "metrics.csv").write_text("name,price\npear,2\n")
    with pytest.raises(UserError, match="metrics by step"):
        MetricsFile(tmp_path / "metrics.csv")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_said_to_be_missing():
    with pytest.raises(UserError, match="CUDA device"):
        accelerator("cuda")


@pytest.mark.parametrize("name", ["steps", "processes", "rays", "max_rays", "checkpoint_every", "log_every"])
def test_settings_without_meaning_are_refused(name):
    with pytest.raises(UserError, match=f"--fit.{name}: expected at least 1, got 0"):
        dataclasses.replace(FitConfig(), **{name: 0})
