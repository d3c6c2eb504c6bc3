"""Ctrl-C as a terminal sends it: to every process of the command at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rilievo.demo.capture import write_capture
from rilievo.engine import checkpoint
from rilievo.engine.workspace import Workspace


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("captures") / "amphora"
    write_capture(folder, views=9, size_px=24)
    return folder


def hear_ctrl_c() -> None:
    """Whatever started the tests may ignore Ctrl-C, and a program started by them would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt(arguments: list[str], when) -> tuple[int, str]:
    """Start the command in a process group of its own and press Ctrl-C once `when` holds."""
    command = [sys.executable, "-m", "rilievo.cli", *arguments]
    begun = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hear_ctrl_c)
    limit = time.monotonic() + 90
    while not when() and begun.poll() is None:
        assert time.monotonic() < limit, "nothing happened within 90 s"
        time.sleep(0.002)
    os.killpg(begun.pid, signal.SIGINT)
    _, told = begun.communicate(timeout=60)
    return begun.returncode, told


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_all_processes_stop_after_the_same_step_and_leave_one_checkpoint_of_it(capture, tmp_path, processes):
    run = tmp_path / "run"
    command = ["fit", "neus", str(capture), "-o", str(run), "--preset", "smoke", "--steps", "100000"]
    command += ["--fit.processes", processes, "--fit.checkpoint-every", "5", "--device", "cpu"]
    code, told = interrupt(command, (run / "checkpoints" / "step-5.ckpt").exists)
    assert code == 130, told
    assert "interrupted; the same command with --resume goes on" in told
    assert "KeyboardInterrupt" not in told
    reached = Workspace.open(run).latest_checkpoint()
    assert reached is not None
    assert f"step-{checkpoint.read(reached)['global_step']}.ckpt" == reached.name
    assert [p.name for p in (run / "checkpoints").iterdir() if p.name.startswith(".")] == []


def test_before_training_has_begun_there_is_nothing_to_save(capture, tmp_path):
    run = tmp_path / "run"
    command = ["fit", "neus", str(capture), "-o", str(run), "--preset", "smoke", "--steps", "100000"]
    code, told = interrupt(command, (run / "config.yaml").exists)
    assert code == 130, told
    assert "Traceback" not in told
