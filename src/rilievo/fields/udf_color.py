"""The colour networks of NeuralUDF (Long et al. 2023, arXiv:2211.14173, section 3.5): what a point looks like from
everywhere, what it looks like from here, and which photographs know better.

    base    = σ(B(x, feature)),   hidden = the last hidden layer of B
    colour  = σ(D(γ(d), base, hidden))₁₋₃
    logits  = the other outputs of D, one per source view, for `renderers.patch_blend.blended`

Only D is told the direction d, so that a surface that is wrong cannot be excused by a view-dependent colour while the
base colour is trained beside it. All layers are weight-normalised, with ReLU between them. B may be told the normal,
too: both n and -n, since a field without sign has no outside, and without teaching the normal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .encoding import CompositeEncoding
from .frequency import FrequencyEncoding
from .mlp import MLP


class BlendedColor(NamedTuple):
    """What the networks say of samples."""

    base: Float[Tensor, "samples 3"]
    """The same from everywhere, in [0, 1]."""
    color: Float[Tensor, "samples 3"]
    """Seen along the ray, in [0, 1]."""
    logits: Float[Tensor, "samples views"]
    """Which source view to take a colour from, before the softmax."""


class BlendingRadiance(nn.Module):
    """Point, feature, unit direction from the eye and, if wanted, normal → colours and the weights of source views."""

    def __init__(
        self,
        feature_dim: int,
        *,
        views: int = 10,
        width: int = 128,
        hidden_layers: int = 4,
        frequencies: int = 4,
        with_normals: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.with_normals = with_normals
        self.directions = CompositeEncoding(FrequencyEncoding(frequencies), scale=1.0, offset=0.0)
        self.trunk = MLP(
            (9 if with_normals else 3) + feature_dim,
            width,
            width=width,
            hidden_layers=hidden_layers - 1,
            weight_norm=True,
            output_activation="relu",
            generator=generator,
        )
        self.base = MLP(width, 3, width=width, hidden_layers=0, weight_norm=True, generator=generator)
        self.seen = MLP(
            self.directions.output_dim + 3 + width,
            3 + views,
            width=width,
            hidden_layers=hidden_layers,
            weight_norm=True,
            generator=generator,
        )

    def forward(
        self,
        points: Float[Tensor, "samples 3"],
        feature: Float[Tensor, "samples features"],
        directions: Float[Tensor, "samples 3"],
        normals: Float[Tensor, "samples 3"] | None = None,
    ) -> BlendedColor:
        """Colours of samples, one direction each, and a unit normal of either side where the networks take one."""
        assert (normals is not None) == self.with_normals, "normals are given exactly when the field was built for them"
        sides = [] if normals is None else [normals.detach(), -normals.detach()]
        hidden = self.trunk(torch.cat([points, *sides, feature], dim=-1))
        base = torch.sigmoid(self.base(hidden))
        outputs = self.seen(torch.cat([self.directions(directions), base, hidden], dim=-1))
        return BlendedColor(base, torch.sigmoid(outputs[:, :3]), outputs[:, 3:])
