"""Results of pairs on disk, so that work survives an interruption and memory holds one pair at a time.

A file's name is the key of both photos' contents (with their masks) and of all settings that shape the result: what is
there under the right name need not be computed again, whatever run it comes from, and an edited photo or another
setting finds nothing there. The pair (j, i) is the pair (i, j) seen from the other side; both share a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rilievo.errors import clear
from rilievo.matching import pair_file
from rilievo.matching.pair_file import Precision
from rilievo.matching.pair_key import combined_key, settings_key
from rilievo.matching.pair_result import PairResult
from rilievo.matching.scene_graph import Pair, unordered


@dataclass(frozen=True)
class Filled:
    """What filling a store took."""

    computed: int
    """Pairs that were not there."""
    repaired: int
    """Pairs that were there but damaged, and computed again."""
    reused: int
    """Pairs that were there and sound."""
    disk_bytes: int
    """Of all pairs that were asked for."""

    def __str__(self) -> str:
        again = f", {self.repaired} damaged ones computed again" if self.repaired else ""
        return f"{self.computed} pairs computed, {self.reused} reused{again}; {self.disk_bytes / 1e6:.1f} MB on disk"


class PairStore:
    """A folder of pair results for a list of photos, which are counted from 0."""

    def __init__(
        self,
        folder: Path,
        photos: Sequence[str],
        settings: Sequence[Any],
        precision: Precision = Precision.HALF,
    ) -> None:
        """`photos` are their `content_key`s; `settings` are dataclasses: the predictor's (its weights included), image
        size, matching.
        """
        self.folder = folder
        self.photos = tuple(photos)
        self.precision = precision
        self._settings = combined_key((str(pair_file.FORMAT), precision.value, settings_key(*settings)))

    def path(self, i: int, j: int) -> Path:
        """Where the result of photos i and j is, or would be."""
        first, second = self._stored_order(i, j)
        return self.folder / (combined_key((self._settings, self.photos[first], self.photos[second]))[:40] + ".npz")

    def save(self, i: int, j: int, result: PairResult) -> None:
        """Keep the result of the photos i, j (in this order); whole, or on failure not at all."""
        as_stored = result if self._stored_order(i, j) == (i, j) else result.swapped()
        pair_file.write(self.path(i, j), as_stored, self.precision)

    def find(self, i: int, j: int) -> PairResult | None:
        """The result as the ordered pair (i, j) sees it; None where it is missing or damaged."""
        result = pair_file.read(self.path(i, j))
        return result if result is None or self._stored_order(i, j) == (i, j) else result.swapped()

    def load(self, i: int, j: int) -> PairResult:
        """The result as the ordered pair (i, j) sees it. Raises `UserError` where it is missing or damaged."""
        result = self.find(i, j)
        if result is None:
            path = self.path(i, j)
            raise clear(
                f"stored result of photos {i} and {j}",
                expected=f"a sound file {path}",
                got="a damaged one" if path.is_file() else "none",
                do="run the alignment again; what is there is reused",
            )
        return result

    def load_all(self, pairs: Iterable[Pair]) -> Iterator[tuple[Pair, PairResult]]:
        """Each pair's result in turn; only the one at hand is in memory, unless the caller keeps others."""
        for i, j in pairs:
            yield (i, j), self.load(i, j)

    def fill(
        self,
        pairs: Iterable[Pair],
        compute: Callable[[int, int], PairResult],
        on_pair: Callable[[int, int], None] | None = None,
    ) -> Filled:
        """Have every pair stored, computing what is missing or damaged.

        Each pair is computed once, for i < j, whichever orders are asked for. `on_pair(done, total)` is told after
        every pair. What is done stays when `compute` raises or the user interrupts. Raises `UserError` when the folder
        cannot be written.
        """
        wanted = unordered(pairs)
        computed = repaired = reused = size = 0
        for done, (i, j) in enumerate(wanted, 1):
            path = self.path(i, j)
            there = path.is_file()
            if there and pair_file.is_sound(path):
                reused += 1
            else:
                self.save(i, j, compute(i, j))
                repaired, computed = repaired + there, computed + (not there)
            size += path.stat().st_size
            if on_pair is not None:
                on_pair(done, len(wanted))
        return Filled(computed, repaired, reused, size)

    def _stored_order(self, i: int, j: int) -> Pair:
        """By content rather than by place in the list, so that reordered photos find their results."""
        return (i, j) if (self.photos[i], i) <= (self.photos[j], j) else (j, i)
