"""Checkpoints: written whole or not at all, read without executing anything, refused with one sentence when damaged."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, TypeVar

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from rilievo.engine.ray_model import SteppedModel
from rilievo.errors import UserError, clear
from rilievo.io.atomic import replacing

M = TypeVar("M", bound=SteppedModel)


class WholeFileCheckpoints(CheckpointIO):
    """Lightning's door to the disk: a temporary name, then a rename; loading admits tensors and plain data only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        try:
            with replacing(path) as temporary:
                torch.save(checkpoint, temporary)
        except RuntimeError as error:  # how torch says that the disk is full
            raise UserError(f"cannot write {path}: {error}; free some space or choose another -o") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        return _load(Path(path))  # also what a training process hands back, which is weights alone

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint, on the CPU. Raises `UserError` for a missing, truncated or foreign file."""
    checkpoint = _load(path)
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step"} <= checkpoint.keys():
        raise clear(str(path), expected="a checkpoint of rilievo", got="another file", do="fit again")
    return checkpoint


def _load(path: Path) -> Any:
    """Tensors and plain data from a file; nothing in it is executed."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise clear(str(path), expected="a checkpoint", got="no such file", do="fit the run first") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        raise clear(
            str(path),
            expected="a whole checkpoint of rilievo",
            got="a truncated or foreign file",
            do="remove it and continue from an earlier one with --resume, or fit again",
        ) from error


def load_model(model: M, path: Path) -> M:
    """Fill a model from a checkpoint, ready to render. Raises `UserError` when the two do not belong together."""
    checkpoint = read(path)
    prefix = "model."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise clear(
            str(path),
            expected="a checkpoint made with the run's config.yaml",
            got="tensors of other names or shapes",
            do="restore config.yaml, or fit again",
        ) from error
    model.set_step(int(checkpoint["global_step"]))
    return model.eval()
