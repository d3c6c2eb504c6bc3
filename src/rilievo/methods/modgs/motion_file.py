"""`motion.pt` of a run folder: the motion, what it is trained on, and how far its own stage has come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rilievo.engine.checkpoint import WholeFileCheckpoints
from rilievo.errors import clear
from rilievo.fields.motion import InvertibleMotion
from rilievo.motion.objective import Correspondences
from rilievo.motion.pair_table import UnitBox

from .start import SeenPoints, Start

FILE = "motion.pt"


@dataclass(frozen=True)
class Progress:
    """Updates done, and what Adam remembers of them."""

    step: int = 0
    optimizer: dict[str, Any] | None = None


def save_stage(path: Path, motion: InvertibleMotion, start: Start, progress: Progress | None = Progress()) -> None:
    """Write the motion and what it is trained on, whole or not at all; no progress (None) means that it is done."""
    content: dict[str, Any] = {
        "motion": motion.state_dict(),
        "depths": start.depths.half(),
        "box": {"center": start.box.center, "scale": start.box.scale},
        "pairs": [(i, j, p.start, p.end, p.source, p.target) for (i, j), p in start.pairs.items()],
        "progress": None if progress is None else vars(progress),
    }
    content |= {name: vars(getattr(start, name)) for name in ("moving", "still")}
    WholeFileCheckpoints().save_checkpoint(content, path)


def load_stage(path: Path, motion: InvertibleMotion) -> tuple[Start, Progress | None]:
    """Fill the motion from a file of `save_stage`; what it is trained on, and the progress of a stage that is not done.

    Raises `UserError` for a file that is damaged or of another config.
    """
    held = WholeFileCheckpoints().load_checkpoint(path)
    try:
        motion.load_state_dict(held["motion"])
        start = Start(
            depths=held["depths"].float(),
            box=UnitBox(**held["box"]),
            pairs={(i, j): Correspondences(x, y, begin, end) for i, j, begin, end, x, y in held["pairs"]},
            moving=SeenPoints(**held["moving"]),
            still=SeenPoints(**held["still"]),
        )
        return start, None if held["progress"] is None else Progress(**held["progress"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise clear(
            str(path),
            expected="the first stage of a run with these settings",
            got="other contents",
            do="remove it, and the stage is trained again",
        ) from error
