"""Frequency encoding (NeRF, Mildenhall et al. 2020, arXiv:2003.08934, eq. 4) with a window that opens during
training.

γ(x) = (sin 2⁰x, cos 2⁰x, …, sin 2^{L-1}x, cos 2^{L-1}x): for each frequency the sines of all dimensions, then the
cosines. As in the published NeuS code there is no π and no x itself (see `CompositeEncoding`). Frequency k is
multiplied by the cosine window (1 - cos π clamp(L·step/window_steps - k, 0, 1)) / 2 (Nerfies, Park et al. 2021,
arXiv:2011.12948, eq. 8).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def frequency_window(step: int, window_steps: int, n_frequencies: int) -> list[float]:
    """Weight of each frequency at a step; all ones where `window_steps` is 0."""
    if window_steps <= 0:
        return [1.0] * n_frequencies
    opened = n_frequencies * step / window_steps
    return [(1 - math.cos(math.pi * min(max(opened - k, 0.0), 1.0))) / 2 for k in range(n_frequencies)]


class FrequencyEncoding(nn.Module):
    """Sines and cosines of a point at `n_frequencies` octaves; all of them are open before the first `set_step`."""

    def __init__(self, n_frequencies: int, *, input_dim: int = 3, window_steps: int = 0) -> None:
        super().__init__()
        self.n_frequencies, self.window_steps = n_frequencies, window_steps
        self.input_dim = input_dim
        self.output_dim = input_dim * 2 * n_frequencies
        self.frequencies: Tensor
        self.window: Tensor
        self.register_buffer("frequencies", 2.0 ** torch.arange(n_frequencies), persistent=False)
        self.register_buffer("window", torch.ones(n_frequencies), persistent=False)

    def set_step(self, step: int) -> None:
        self.window.copy_(torch.tensor(frequency_window(step, self.window_steps, self.n_frequencies)))

    def forward(self, x: Float[Tensor, "points in"]) -> Float[Tensor, "points out"]:
        phase = x[:, None, :] * self.frequencies.to(x.dtype)[:, None]  # [points, frequencies, in]
        waves = torch.stack([phase.sin(), phase.cos()], dim=2)  # [points, frequencies, sin|cos, in]
        return (waves * self.window.to(x.dtype)[:, None, None]).flatten(1)

    def pullback(
        self, x: Float[Tensor, "points in"], cotangent: Float[Tensor, "points out"]
    ) -> Float[Tensor, "points in"]:
        phase = x[:, None, :] * self.frequencies.to(x.dtype)[:, None]
        of_sin, of_cos = cotangent.view(-1, self.n_frequencies, 2, self.input_dim).unbind(2)
        slope = (self.frequencies * self.window).to(x.dtype)[:, None]
        return (slope * (of_sin * phase.cos() - of_cos * phase.sin())).sum(1)
