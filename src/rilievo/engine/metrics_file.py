"""log/metrics.csv: a row per logged step, whatever interruptions lie between them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from rilievo.errors import clear
from rilievo.io.atomic import replacing


class MetricsFile(Logger):
    """Numbers by step, as comma-separated values with one column per name.

    A resumed run goes on in the file that is there: rows from its first step on are written anew, those before stay.
    The file is replaced whole at every `save`. Raises `UserError` when the one that is there is no such table.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = _read(path) if path.is_file() else []
        self.unsaved = False

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: settings are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        while self.rows and int(self.rows[-1]["step"]) >= step:
            self.rows.pop()
        self.rows.append({"step": step, **metrics})
        self.unsaved = True

    @rank_zero_only
    def save(self) -> None:
        if not self.unsaved:  # also in the process that only started those which train
            return
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns or ["step"], restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        self.unsaved = False

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not all((row.get("step") or "").isdecimal() for row in rows):
        raise clear(str(path), expected="a table of metrics by step", got="another file", do="move it away")
    return rows
