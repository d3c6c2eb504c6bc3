"""The command line as a user meets it: help at once, one sentence for a mistake, honest exit codes."""

import resource
import subprocess
import sys

import pytest

import rilievo.cli
from rilievo.cli import VERBS, main
from rilievo.errors import UserError


def run(*argv: str, **kwargs) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "rilievo.cli", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **kwargs)


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip() for line in lines}


def test_help_answers_at_once_and_without_torch():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # others on the machine do not count
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    assert not {"torch", "numpy", "tyro", "numba"} & imported(done)
    assert took < 1.0


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "fit"])
def test_help_of_every_verb_leaves_torch_asleep(verb):
    done = run(verb, "--help")
    assert done.returncode == 0
    assert f"rilievo {verb}" in done.stdout
    assert "torch" not in imported(done)


def test_an_unknown_verb_is_answered_with_the_nearest(capsys):
    assert main(["evalute"]) == 2
    assert "did you mean `rilievo evaluate`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("masks: expected one per\n image, got 3"), 2, "error: masks: expected one per image, got 3\n"),
        (KeyboardInterrupt(), 130, "--resume"),
    ],
)
def test_how_a_verb_ends_is_an_exit_code_and_one_sentence(raised, code, said, capsys, monkeypatch):
    def dispatch(argv):
        raise raised

    monkeypatch.setattr(rilievo.cli, "_dispatch", dispatch)
    assert main(["fit"]) == code
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_our_own_bugs_are_not_hidden(monkeypatch):
    def dispatch(argv):
        raise ZeroDivisionError

    monkeypatch.setattr(rilievo.cli, "_dispatch", dispatch)
    with pytest.raises(ZeroDivisionError):
        main(["fit"])


def test_a_reader_that_leaves_early_causes_no_traceback():
    command = f"{sys.executable} -m rilievo.cli --help | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


def test_a_wrong_flag_exits_with_two():
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--nonsense"])
    assert ended.value.code == 2
