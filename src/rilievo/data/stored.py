"""Sequences of pictures that are decoded when they are asked for.

A scene of a thousand photos costs nothing to open: an element is read from its file on access, resampled to its size,
and the last few are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol, overload, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from rilievo.io.image import read_alpha, read_color, read_gray


@runtime_checkable
class Pictures(Protocol):
    """Any sequence of pictures, in memory or in files. Whoever checks its type looks at no element, for that could
    decode one, as checking a `Sequence[...]` does.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> np.ndarray: ...
    def __iter__(self) -> Iterator[np.ndarray]: ...


class Channel(Enum):
    """What is taken from the file."""

    COLOR = "color"
    ALPHA = "alpha"
    GRAY = "gray"
    FULL = "full"
    """Nothing: 255 everywhere, for a photo that has no mask beside photos that have one."""


@dataclass(frozen=True)
class StoredImage:
    """One picture in a file, the channel wanted and the size wanted."""

    path: Path
    channel: Channel
    size_px: tuple[int, int]
    orient: bool = True
    """Turn by EXIF orientation."""
    verbatim: bool = False
    """The file holds exactly these pixels and no others, so it may be copied as it is."""

    def decode(self) -> UInt8[np.ndarray, "..."]:
        if self.channel is Channel.FULL:
            return np.full(self.size_px[::-1], 255, dtype=np.uint8)
        read = {Channel.COLOR: read_color, Channel.ALPHA: read_alpha, Channel.GRAY: read_gray}[self.channel]
        return read(self.path, size_px=self.size_px, orient=self.orient)


class StoredImages(Sequence[UInt8[np.ndarray, "..."]]):
    """An immutable sequence of stored pictures; slices are again such sequences. Safe to read from several threads."""

    def __init__(self, files: Sequence[StoredImage], keep: int = 8) -> None:
        self.files = tuple(files)
        self.keep = keep
        self._recent: OrderedDict[int, UInt8[np.ndarray, "..."]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> UInt8[np.ndarray, "..."]: ...
    @overload
    def __getitem__(self, index: slice) -> StoredImages: ...
    def __getitem__(self, index: int | slice) -> UInt8[np.ndarray, "..."] | StoredImages:
        if isinstance(index, slice):
            return StoredImages(self.files[index], self.keep)
        position = range(len(self.files))[index]
        with self._lock:
            if position in self._recent:
                self._recent.move_to_end(position)
                return self._recent[position]
        pixels = self.files[position].decode()
        pixels.setflags(write=False)
        with self._lock:
            self._recent[position] = pixels
            while len(self._recent) > self.keep:
                self._recent.popitem(last=False)
        return pixels

    def pick(self, indices: Sequence[int]) -> StoredImages:
        """The pictures at `indices`, in that order."""
        return StoredImages([self.files[i] for i in indices], self.keep)

    def __reduce__(self) -> tuple[type[StoredImages], tuple[tuple[StoredImage, ...], int]]:
        return StoredImages, (self.files, self.keep)  # what was decoded stays behind when a worker gets a copy
