"""A run that dies between two changes of its cloud resumes to the very state of an unbroken one."""

import signal
import subprocess
import sys

import pytest

from rilievo.cli import main
from rilievo.engine.workspace import Workspace

from .test_fit import assert_same_state, command, metrics

LAST, DIES_AT, KEPT = 40, 26, 20
"""Checkpoints are written every 10 steps; the cloud changes every 10."""

DYING = """
import os, signal, sys
from rilievo.cli import main
from rilievo.gaussians.densify import Densification
from rilievo.gaussians.relocation import Relocation

def dying(advance):
    def advance_or_die(self, gaussians, optimizer, step, generator):
        if step == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        advance(self, gaussians, optimizer, step, generator)
    return advance_or_die

for strategy in (Densification, Relocation):
    strategy.advance = dying(strategy.advance)
main(sys.argv[2:])
"""


STRATEGIES = {
    "relocate": {},
    "densify": {
        "--densify.start": 2,
        "--densify.every": 10,
        "--densify.grad-threshold": 1e-6,
        "--densify.reset-every": 15,
        "--densify.max-gaussians": 5000,
    },
}
"""Beside the preset; the second doubles the cloud at each change, and resets opacities between two of them."""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_killed_between_two_changes_of_its_cloud_resumes_to_the_state_of_an_unbroken_one(
    strategy, capture, tmp_path
):
    expected, run = tmp_path / "expected", tmp_path / "run"
    flags = ["--strategy", strategy, *(str(word) for flag in STRATEGIES[strategy].items() for word in flag)]
    assert main([*command("splat", capture, expected), *flags]) == 0
    arguments = [*command("splat", capture, run), *flags]
    ended = subprocess.run([sys.executable, "-c", DYING, str(DIES_AT), *arguments], timeout=150, check=False)
    assert ended.returncode == -signal.SIGKILL
    reached = Workspace.open(run).latest_checkpoint()
    assert reached is not None
    assert reached.stem == f"step-{KEPT}"
    assert main([*arguments, "--resume"]) == 0
    assert_same_state(run / "checkpoints" / f"step-{LAST}.ckpt", expected / "checkpoints" / f"step-{LAST}.ckpt")
    assert metrics(run) == metrics(expected)
    counts = [float(row["train/gaussians"]) for row in metrics(run)]
    assert counts[KEPT // 4] > counts[0]
    assert counts[-1] != counts[KEPT // 4]
