"""Invertible motion: every moment of a clip mapped onto one canonical space and back (MoDGS, Liu et al. 2024,
arXiv:2406.00434, section 3.2).

`to_canonical(x, t)` takes points of time t to the canonical space; `to_time(y, t)` is its inverse. A point is carried
from one time to another through the canonical space: `carry(x, t, t')`. Coupling layers (`fields.coupling`) steered by
features of time (`fields.gabor`) make the map invertible by construction, so the way there and back costs no loss.

One time convention holds everywhere: t in [0, 1], frame i of n at i/(n-1). (The published stages disagree: i/n in the
first, i/(n-1) in the second.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .coupling import CouplingLayer
from .depth_affine import DepthAffine
from .gabor import GaborNet

ORDER = (0, 1, 2, 0)
"""Which coordinate each layer moves; the published code draws it at random once."""


class InvertibleMotion(nn.Module):
    """Coupling layers over time features; points [b, n, 3] with one time per row [b].

    The defaults are the published sizes. `lattice` is the spacing on which steering networks are tabulated, in units of
    the points (None: evaluated at every point, as published). `affine` puts a `DepthAffine` before the layers. With
    gradients, `carry` works on `chunk` points at a time and recomputes them in the backward pass, so that memory does
    not grow with the number of points; a lattice needs no chunks.
    """

    def __init__(
        self,
        *,
        order: Sequence[int] = ORDER,
        time_width: int = 256,
        time_features: int = 128,
        projection: int = 256,
        hidden: tuple[int, ...] = (256, 256, 256),
        frequencies: int = 5,
        affine: bool = False,
        lattice: float | None = None,
        chunk: int = 4096,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.chunk = None if lattice is not None else chunk
        self.time = GaborNet(time_features, width=time_width, generator=generator)
        self.layers = nn.ModuleList(
            CouplingLayer(
                moved,
                code_dim=time_features,
                projection=projection,
                hidden=hidden,
                frequencies=frequencies,
                lattice=lattice,
                generator=generator,
            )
            for moved in order
        )
        self.affine = DepthAffine(frequencies, generator=generator) if affine else None

    def to_canonical(self, x: Float[Tensor, "b n 3"], times: Float[Tensor, "b"]) -> Float[Tensor, "b n 3"]:
        """Canonical positions of points seen at `times`."""
        return self._to_canonical(x, times, self.time(times))

    def to_time(self, y: Float[Tensor, "b n 3"], times: Float[Tensor, "b"]) -> Float[Tensor, "b n 3"]:
        """Where canonical points are at `times`."""
        return self._to_time(y, times, self.time(times))

    def carry(
        self, x: Float[Tensor, "b n 3"], start: Float[Tensor, "b"], end: Float[Tensor, "b"]
    ) -> Float[Tensor, "b n 3"]:
        """Where points seen at time `start` are at time `end`."""
        features = self.time(torch.cat((start, end)))
        begun, ended = features.chunk(2)

        def through(part: Tensor, begun: Tensor, ended: Tensor) -> Tensor:
            return self._to_time(self._to_canonical(part, start, begun), end, ended)

        if self.chunk is None or x.shape[1] <= self.chunk:
            return through(x, begun, ended)
        parts = x.split(self.chunk, dim=1)
        if not torch.is_grad_enabled():
            return torch.cat([through(part, begun, ended) for part in parts], dim=1)
        done = [checkpoint(through, p, begun, ended, use_reentrant=False, preserve_rng_state=False) for p in parts]
        return torch.cat(done, dim=1)

    def _to_canonical(self, x: Tensor, times: Tensor, features: Tensor) -> Tensor:
        if self.affine is not None:
            x = self.affine.to_canonical(x, times)
        for layer in self.layers:
            x = layer.to_canonical(x, features)  # type: ignore[operator]
        return x

    def _to_time(self, y: Tensor, times: Tensor, features: Tensor) -> Tensor:
        for layer in reversed(self.layers):  # type: ignore[arg-type]
            y = layer.to_time(y, features)  # type: ignore[operator]
        return y if self.affine is None else self.affine.to_time(y, times)
