"""What alignment asks for: pointmaps, confidences and perhaps descriptors of ordered pairs of photos.

Anything that answers so can drive the alignment; here are the published networks behind that door. The encoder sees
each photo once; pairs of one shape are decoded in batches. Memory depends on the batch and on how many photos'
tokens are remembered (3 MiB each at 512 x 384), not on the number of pairs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from rilievo.matching.pair_result import Descriptors, PairPrediction

from .activations import Pointmaps
from .backbone import Encoded
from .checkpoint import LoadedNetwork
from .patches import Views
from .photo import PreparedPhoto, normalized, prepare_file

Pair = tuple[int, int]


class PairPredictor(Protocol):
    """Says of ordered pairs of photos where their pixels are."""

    @property
    def key(self) -> str:
        """Names the predictor and all settings that its answers depend on: equal keys, equal answers."""

    @property
    def has_descriptors(self) -> bool:
        """Whether its predictions hold descriptors to match by."""

    def predict(self, photos: Sequence[PreparedPhoto], pairs: Sequence[Pair]) -> Iterator[tuple[Pair, PairPrediction]]:
        """The prediction of every ordered pair of positions in `photos`, each with its pair, in an order of its own.

        Maps have the size of the photos they are about (`PreparedPhoto.size_hw`).
        """


class NetworkPredictor:
    """MASt3R or DUSt3R as a `PairPredictor`."""

    def __init__(
        self,
        loaded: LoadedNetwork,
        *,
        batch_size: int = 1,
        bfloat16: bool = False,
        image_px: int | None = None,
        square_ok: bool = False,
        photos_remembered: int = 128,
    ) -> None:
        """`bfloat16` lets the transformer multiply in half precision, which GPUs like; points of networks with random
        weights move by half a percent, so it is a choice and no default. `image_px` is the long side of prepared photos
        (None: as in training).
        """
        self.loaded, self.network = loaded, loaded.network
        self.device = loaded.network.mask_token.device
        self.batch_size = batch_size
        self.bfloat16 = bfloat16
        self.image_px = image_px or loaded.network.config.image_px
        self.square_ok = square_ok
        self.photos_remembered = max(photos_remembered, 2 * batch_size)

    @property
    def key(self) -> str:
        square = "square" if self.square_ok else "cropped"
        precision = "bfloat16" if self.bfloat16 else "float32"
        return f"{self.loaded.fingerprint}-{self.image_px}-{square}-{precision}"

    @property
    def has_descriptors(self) -> bool:
        return self.network.config.descriptor_channels > 0

    def prepare(self, path: Path) -> PreparedPhoto:
        """A photo as this network wants it. Raises `UserError` naming the file where it cannot be decoded."""
        return prepare_file(path, self.image_px, square_ok=self.square_ok, patch_px=self.network.config.patch_px)

    def predict(self, photos: Sequence[PreparedPhoto], pairs: Sequence[Pair]) -> Iterator[tuple[Pair, PairPrediction]]:
        """As `PairPredictor.predict`; on the network's device, in float32, without gradients."""
        memory = _Memory(self, photos)
        for batch in _batches(photos, pairs, self.batch_size):
            yield from zip(batch, self._relate(batch, memory))

    @torch.no_grad()
    def _relate(self, batch: Sequence[Pair], memory: _Memory) -> list[PairPrediction]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            memory.encode({photo for pair in batch for photo in pair})
            answer = self.network.relate(memory.batch([i for i, _ in batch]), memory.batch([j for _, j in batch]))
        return [_prediction(answer.first, answer.second, k) for k in range(len(batch))]


class _Memory:
    """Encoded photos, of which those used longest ago are forgotten first."""

    def __init__(self, predictor: NetworkPredictor, photos: Sequence[PreparedPhoto]) -> None:
        self.predictor, self.photos = predictor, photos
        self.encoded: OrderedDict[int, Encoded] = OrderedDict()

    def encode(self, which: set[int]) -> None:
        """Make sure that the photos `which` are here, encoding in batches those that are not."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for photo in sorted(which):
            if photo in self.encoded:
                self.encoded.move_to_end(photo)
            else:
                by_size.setdefault(self.photos[photo].size_hw, []).append(photo)
        for new in by_size.values():
            pixels = torch.from_numpy(np.stack([self.photos[photo].pixels for photo in new]))
            encoded = self.predictor.network.encode(Views.upright(normalized(pixels.to(self.predictor.device))))
            for k, photo in enumerate(new):
                self.encoded[photo] = Encoded(
                    encoded.tokens[k : k + 1].clone(), encoded.size_hw, encoded.sideways[k : k + 1]
                )
        while len(self.encoded) > self.predictor.photos_remembered:
            self.encoded.popitem(last=False)

    def batch(self, which: Sequence[int]) -> Encoded:
        """Photos of one size as a batch."""
        return Encoded.concatenate([self.encoded[photo] for photo in which])


def _batches(photos: Sequence[PreparedPhoto], pairs: Sequence[Pair], batch_size: int) -> Iterator[list[Pair]]:
    """The pairs in batches of one shape: same size of first photos, same size of second photos."""
    by_shape: dict[tuple[tuple[int, int], tuple[int, int]], list[Pair]] = {}
    for i, j in pairs:
        by_shape.setdefault((photos[i].size_hw, photos[j].size_hw), []).append((i, j))
    for alike in by_shape.values():
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]


def _prediction(first: Pointmaps, second: Pointmaps, k: int) -> PairPrediction:
    return PairPrediction(
        first.X[k], first.C[k], second.X[k], second.C[k], _descriptors(first, k), _descriptors(second, k)
    )


def _descriptors(maps: Pointmaps, k: int) -> Descriptors | None:
    return None if maps.D is None or maps.Q is None else Descriptors(maps.D[k], maps.Q[k])
