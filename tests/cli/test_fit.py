"""The command line of `fit`: two readings, shorthands, what a resumed run may change. A stand-in method is run."""

import dataclasses
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest

import rilievo.cli.fit as fit
from rilievo.cli import main
from rilievo.demo.capture import write_capture
from rilievo.engine.config_file import render
from rilievo.engine.method import Artifact, Method
from rilievo.engine.settings import FitConfig
from rilievo.engine.workspace import Workspace
from rilievo.stretch import Step


@dataclass(frozen=True)
class NetConfig:
    width: int = 64
    """Neurons."""


@dataclass(frozen=True)
class Config:
    net: NetConfig = NetConfig()
    """The network."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=100))
    """Training."""
    opens: Step = 40
    """A moment of training."""
    closes: Step = 80
    """Another."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures") / "amphora"
    write_capture(folder, views=7, size_px=24)
    return folder


@pytest.fixture
def ran(monkeypatch):
    """Configs the stand-in method was run with."""
    configs = []

    def run(config, workspace):
        configs.append(config)
        workspace.checkpoints.mkdir(exist_ok=True)

    method = Method(
        name="blob",
        summary="A stand-in.",
        needs=frozenset({Artifact.SCENE}),
        gives=frozenset({Artifact.MESH}),
        presets=MappingProxyType({"fast": Config(), "paper": Config(NetConfig(256), FitConfig(steps=20000))}),
        run=run,
        load=lambda config, scene, checkpoint: None,
    )
    monkeypatch.setattr(fit, "available", lambda: {"blob": method})
    return configs


def test_every_field_of_the_config_is_a_flag_over_the_presets_value(ran, capture, tmp_path, capsys):
    command = ["fit", "blob", str(capture), "-o", str(tmp_path / "run"), "--preset", "paper", "--net.width", "32"]
    assert main([*command, "--steps", "7", "--seed", "3"]) == 0
    assert ran == [Config(NetConfig(32), dataclasses.replace(FitConfig(), steps=7, seed=3), opens=1, closes=1)]
    stored = Workspace.open(tmp_path / "run")
    assert render(stored.config(Config)) == render(ran[0])
    assert stored.record.preset == "paper"
    told = capsys.readouterr().out
    assert "7 views (1 held out)" in told


@pytest.mark.parametrize(("gives", "verb"), [(Artifact.MESH, "mesh"), (Artifact.RADIANCE, "view")])
def test_the_next_verb_that_is_told_is_one_the_method_has_an_answer_to(
    ran, capture, tmp_path, capsys, monkeypatch, gives, verb
):
    method = dataclasses.replace(fit.available()["blob"], gives=frozenset({gives}))
    monkeypatch.setattr(fit, "available", lambda: {"blob": method})
    assert main(["fit", "blob", str(capture), "-o", str(tmp_path / "run")]) == 0
    assert f"next: rilievo {verb} " in capsys.readouterr().out


def test_the_capture_is_opened_as_the_run_remembers(ran, capture, tmp_path):
    options = ["--downscale", "2", "--holdout", "3", "--region", "0", "0", "0", "0.5", "--mask-meaning", "ignore"]
    assert main(["fit", "blob", str(capture), "-o", str(tmp_path / "run"), *options]) == 0
    scene = Workspace.open(tmp_path / "run").scene
    assert scene.cameras.sizes_px[0].tolist() == [12, 12]
    assert scene.region.radius == 0.5
    assert scene.mask_meaning == "ignore"


def test_a_resumed_run_starts_from_its_own_settings_and_may_be_longer(ran, capture, tmp_path):
    command = ["fit", "blob", str(capture), "-o", str(tmp_path / "run")]
    assert main([*command, "--net.width", "32"]) == 0
    assert main([*command, "--resume", "--steps", "200"]) == 0
    assert ran[1] == dataclasses.replace(ran[0], fit=dataclasses.replace(ran[0].fit, steps=200))


def test_steps_stretch_the_preset_but_not_a_moment_that_is_given_and_resuming_repeats_the_same_command(
    ran, capture, tmp_path
):
    command = ["fit", "blob", str(capture), "-o", str(tmp_path / "run"), "--steps=50", "--closes", "45"]
    assert main(command) == 0
    assert main([*command, "--resume"]) == 0
    assert ran == [Config(fit=FitConfig(steps=50), opens=20, closes=45)] * 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--resume"),
        (["--resume", "--net.width", "8"], "keeps its settings"),
        (["--resume", "--holdout", "2"], "the command that began it"),
        (["--preset", "slow"], "one of fast, paper"),
        (["--preset"], "expected one argument"),
    ],
)
def test_what_contradicts_an_earlier_run_is_refused(ran, capture, tmp_path, capsys, more, said):
    command = ["fit", "blob", str(capture), "-o", str(tmp_path / "run")]
    assert main(command) == 0
    assert main([*command, *more]) == 2
    assert said in capsys.readouterr().err
    assert len(ran) == 1


def test_nothing_is_left_behind_when_the_capture_cannot_be_opened(ran, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["fit", "blob", str(tmp_path / "empty"), "-o", str(tmp_path / "run")]) == 2
    assert "empty folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]
    assert ran == []


def test_an_unknown_method_is_answered_with_those_there_are(ran, capsys):
    assert main(["fit", "blub", "scene", "-o", "run"]) == 2
    assert "METHOD: expected one of blob, got blub" in capsys.readouterr().err


def test_an_unknown_flag_exits_with_two(ran, capture, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "blob", str(capture), "-o", str(tmp_path / "run"), "--net.depth", "3"])
    assert ended.value.code == 2
    assert not (tmp_path / "run").exists()
