"""A run folder: what was asked, what came out, and where each thing lies.

`config.yaml` holds the `Record` (method, preset, scene and how it was opened) and the method's config under `config`,
so a run can be understood, resumed and rendered long after the command line is forgotten. What is inside a checkpoint
is the engine's affair; its name ends in the step, `step-500.*`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rilievo import __version__
from rilievo.engine import config_file
from rilievo.errors import UserError, clear
from rilievo.io.atomic import unwritable, write_text

if TYPE_CHECKING:
    from rilievo.data.scene import Scene

T = TypeVar("T")


@dataclass(frozen=True)
class SceneSource:
    """A capture and how it is opened; the arguments of `load_scene`."""

    path: str
    downscale: float = 1.0
    mask_meaning: str | None = None
    region: tuple[float, float, float, float] | None = None
    """Centre and radius of the ball of interest, in the capture's frame."""
    holdout: int | None = None
    """Every n-th view is kept for evaluation."""

    def load(self) -> Scene:
        """Open the capture. Raises `UserError` as `load_scene` does."""
        from rilievo.data.load import load_scene
        from rilievo.data.scene import MaskMeaning

        meaning = None if self.mask_meaning is None else MaskMeaning(self.mask_meaning)
        return load_scene(
            self.path, downscale=self.downscale, mask_meaning=meaning, holdout=self.holdout, region=self.region
        )


@dataclass(frozen=True)
class Record:
    """What a run was asked to do, beside the method's own config."""

    method: str
    preset: str
    scene: SceneSource
    rilievo: str = __version__


class Workspace:
    """The run folder at `folder`. `Workspace.create` starts one, `Workspace.open` finds one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def config_path(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def metrics_path(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def preview(self) -> Path:
        return self.folder / "preview"

    def mesh_path(self, suffix: str = ".glb") -> Path:
        return self.folder / f"mesh{suffix}"

    @classmethod
    def create(cls, folder: str | Path, record: Record, config: Any) -> Workspace:
        """Start a run folder with its `config.yaml`.

        Raises `UserError` where `require_free` does.
        """
        folder = Path(folder)
        require_free(folder)
        self = cls(folder)
        self.write_record(record, config)
        return self

    @classmethod
    def open(cls, folder: str | Path) -> Workspace:
        """Find a run folder. Raises `UserError` when `folder` is not one."""
        self = cls(Path(folder))
        if not self.config_path.is_file():
            raise clear(
                str(folder),
                expected="a run folder, which holds config.yaml",
                got="no such folder" if not self.folder.exists() else "a folder or file without one",
                do="give the folder that `rilievo fit … -o` wrote",
            )
        return self

    def write_record(self, record: Record, config: Any) -> None:
        """Write config.yaml, over the one that is there."""
        described = config_file.plain(record, Record) | {"config": config_file.plain(config, type(config))}
        write_text(self.config_path, config_file.dump(described))
        self.__dict__.pop("record", None)  # read anew when next asked for
        self.__dict__.pop("_described", None)

    @cached_property
    def record(self) -> Record:
        """What the run was asked. Raises `UserError` when config.yaml is damaged."""
        described = {name: value for name, value in self._described.items() if name != "config"}
        return config_file.build(Record, described, str(self.config_path))

    def config(self, declared: type[T]) -> T:
        """The method's config, of its own type. Raises `UserError` for unknown keys and wrong values."""
        return config_file.build(declared, self._described.get("config"), f"{self.config_path}: config")

    @cached_property
    def scene(self) -> Scene:
        """The capture of this run, opened as it was at first, in the capture's frame."""
        return self.record.scene.load()

    def latest_checkpoint(self) -> Path | None:
        """The checkpoint with the highest step in its name, None before the first is written."""
        found = [(int(m[1]), p) for p in self.checkpoints.glob("[!.]*") if (m := re.search(r"(\d+)$", p.stem))]
        return max(found)[1] if found else None

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file of the run, whole or not at all."""
        path = self.folder / name
        write_text(path, text)
        return path

    def write_json(self, name: str, data: Mapping[str, Any]) -> Path:
        """Write a JSON file of the run, whole or not at all; numbers that are not finite become null."""
        return self.write_text(name, json_text(data))

    @cached_property
    def _described(self) -> dict[str, Any]:
        try:
            text = self.config_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {self.config_path}: {error}; give another run folder") from error
        described = config_file.load(text, str(self.config_path))
        if not isinstance(described, dict):
            raise clear(str(self.config_path), expected="the record of a run", got="something else", do="fit again")
        return described


def require_free(folder: Path) -> None:
    """Raise `UserError` unless a new run may be written at `folder`; leaves nothing behind either way."""
    if (folder / "config.yaml").is_file():
        raise clear(str(folder), expected="a new folder", got="an earlier run", do="add --resume or choose another -o")
    if folder.exists() and not folder.is_dir():
        raise clear(str(folder), expected="a new folder", got="a file", do="choose another -o")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise clear(
                str(folder),
                expected="a new or empty folder",
                got="one with files that are no run",
                do="choose another -o",
            )
        parent = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        tempfile.TemporaryDirectory(dir=parent).cleanup()
    except OSError as error:
        raise unwritable(folder, error) from error


def json_text(data: Any) -> str:
    """Strict JSON: what is not a finite number is null, since JSON has no word for it."""
    return json.dumps(_finite(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        return {f.name: _finite(getattr(data, f.name)) for f in dataclasses.fields(data)}
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
