"""Checkpoints: whole or not there, never executed, refused with one sentence when damaged."""

import pickle
import resource
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from rilievo.cli import main
from rilievo.engine import checkpoint
from rilievo.engine.checkpoint import WholeFileCheckpoints, load_model
from rilievo.engine.ray_model import SteppedModel
from rilievo.errors import UserError

STEPS = 3


@pytest.fixture(scope="module")
def fitted(capture, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fitted") / "run"
    assert main(["fit", "neus", str(capture), "-o", str(folder), "--preset", "smoke", "--steps", str(STEPS)]) == 0
    return folder


@pytest.fixture
def run(fitted, tmp_path) -> Path:
    return shutil.copytree(fitted, tmp_path / "run")


class Bomb:
    """Writes a file when unpickled without care."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def truncate(path: Path, bomb: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path, bomb: Path) -> None:
    path.write_bytes(b"")


def foreign_pickle(path: Path, bomb: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Bomb(bomb), "global_step": 3}))


def foreign_pickle_in_torch_clothes(path: Path, bomb: Path) -> None:
    torch.save({"state_dict": Bomb(bomb), "global_step": 3}, path)


def zip_of_something_else(path: Path, bomb: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")


def tensors_of_another_program(path: Path, bomb: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


DAMAGE = [
    truncate,
    empty,
    foreign_pickle,
    foreign_pickle_in_torch_clothes,
    zip_of_something_else,
    tensors_of_another_program,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__)
def test_a_damaged_checkpoint_is_refused_in_one_sentence_without_executing_it(run, tmp_path, damage):
    path, bomb = run / "checkpoints" / f"step-{STEPS}.ckpt", tmp_path / "bomb"
    damage(path, bomb)
    with pytest.raises(UserError, match=r"step-3\.ckpt: expected a .*checkpoint"):
        checkpoint.read(path)
    assert not bomb.exists()


@pytest.mark.parametrize(
    "verb",
    [
        ["mesh", "{run}"],
        ["evaluate", "{run}"],
        ["render", "{run}", "-o", "{tmp}/film.mp4"],
        ["fit", "neus", "{capture}", "-o", "{run}", "--preset", "smoke", "--resume", "--steps", "9"],
    ],
    ids=lambda verb: verb[0],
)
@pytest.mark.parametrize("damage", [truncate, tensors_of_another_program], ids=lambda f: f.__name__)
def test_every_verb_answers_a_damaged_checkpoint_with_one_line(run, capture, tmp_path, capsys, verb, damage):
    damage(run / "checkpoints" / f"step-{STEPS}.ckpt", tmp_path / "bomb")
    before = {p for p in tmp_path.rglob("*") if "log" not in p.parts}
    assert main([part.format(run=run, capture=capture, tmp=tmp_path) for part in verb]) == 2
    told = capsys.readouterr().err
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert f"step-{STEPS}.ckpt" in errors[0]
    assert "Traceback" not in told
    assert {p for p in tmp_path.rglob("*") if "log" not in p.parts} == before


def test_an_earlier_whole_checkpoint_serves_once_the_damaged_one_is_removed(run, capture, capsys):
    command = ["fit", "neus", str(capture), "-o", str(run), "--preset", "smoke", "--resume", "--steps", str(STEPS + 1)]
    assert main(command) == 0
    truncate(run / "checkpoints" / f"step-{STEPS + 1}.ckpt", run)
    assert main(["mesh", str(run), "--resolution", "16"]) == 2
    (run / "checkpoints" / f"step-{STEPS + 1}.ckpt").unlink()
    assert main(["mesh", str(run), "--resolution", "16"]) == 0


def test_a_checkpoint_of_other_settings_is_refused(fitted):
    class Other(SteppedModel):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def set_step(self, step):
            pass

    with pytest.raises(UserError, match="other names or shapes"):
        load_model(Other(), fitted / "checkpoints" / f"step-{STEPS}.ckpt")


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        checkpoint.read(tmp_path / "step-1.ckpt")


def test_what_was_saved_is_what_is_read(tmp_path):
    saved = {"state_dict": {"model.a": torch.arange(5.0)}, "global_step": 7}
    WholeFileCheckpoints().save_checkpoint(saved, tmp_path / "new" / "step-7.ckpt")
    read = checkpoint.read(tmp_path / "new" / "step-7.ckpt")
    assert read["global_step"] == 7
    assert torch.equal(read["state_dict"]["model.a"], torch.arange(5.0))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["step-7.ckpt"]


def test_a_disk_that_fills_up_leaves_the_old_checkpoint_and_no_half_of_the_new(tmp_path):
    path = tmp_path / "step-7.ckpt"
    WholeFileCheckpoints().save_checkpoint({"state_dict": {}, "global_step": 1}, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))  # no file may grow beyond 64 KiB
    try:
        with pytest.raises(UserError, match=r"cannot write .*step-7.ckpt"):
            WholeFileCheckpoints().save_checkpoint({"state_dict": {"a": torch.zeros(1 << 18)}, "global_step": 7}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        WholeFileCheckpoints().save_checkpoint({"state_dict": {}}, tmp_path / "file" / "step-7.ckpt")
