"""Training rays: every batch is a pure function of (seed, step), whoever asks and however often.

That is what makes a resumed run continue bit for bit, and what lets several processes share one batch: each computes
all of it and keeps its own slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.cameras.rays import Rays
from rilievo.data.scene import MaskMeaning, Scene
from rilievo.data.stored import Pictures
from rilievo.errors import clear


@dataclass(frozen=True)
class RayBatch:
    """r training rays and what the photos say about them. Colours are sRGB in [0, 1], as stored."""

    rays: Rays
    rgb: Float[Tensor, "r 3"]
    """Of the photo; composited over `background` where an object mask cuts the object out."""
    coverage: Float[Tensor, "r"]
    """Share of the pixel that shows the object; 1 where the scene has no object masks."""
    view: Int64[Tensor, "r"]
    jitter: Float[Tensor, "r"]
    """In [0, 1): where in its first step a ray starts marching."""
    background: Float[Tensor, "3"]

    def __len__(self) -> int:
        return len(self.rays)


def step_seed(seed: int, step: int) -> int:
    """One seed per (run, step), far apart for neighbouring steps."""
    return (seed * 1_000_003 + step) * 2_654_435_761 % (1 << 63)


class RaySampler:
    """Pixels of the training views, held as bytes on the CPU, and the rays through them.

    With object masks colours are laid over the batch's background colour; with ignore masks only pixels inside are
    drawn. Raises `UserError` when no pixel is left to learn from.
    """

    def __init__(self, scene: Scene, *, random_background: bool, seed: int) -> None:
        self.cameras, self.seed, self.random_background = scene.cameras, seed, random_background
        self.views = torch.tensor(scene.train_views, dtype=torch.int64)
        self.object_masks = scene.coverage is not None and scene.mask_meaning is MaskMeaning.OBJECT
        sizes = scene.cameras.sizes_px[self.views]
        self.widths = sizes[:, 0]
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), (sizes[:, 0] * sizes[:, 1]).cumsum(0)])
        self.pixels = torch.empty(int(self.starts[-1]), 3, dtype=torch.uint8)
        self._fill(self.pixels, scene.images, scene)
        self.coverage = self.drawable = None
        if scene.coverage is not None:
            coverage = torch.empty(len(self.pixels), dtype=torch.uint8)
            self._fill(coverage, scene.coverage, scene)
            if self.object_masks:
                self.coverage = coverage
            else:
                self.drawable = (coverage >= 128).nonzero().squeeze(1)
        if len(self.pixels) == 0 or (self.drawable is not None and len(self.drawable) == 0):
            raise clear(
                scene.name,
                expected="at least one training pixel that no mask ignores",
                got=f"none in {len(self.views)} views",
                do="check the masks, or their meaning with --mask-meaning",
            )

    def _fill(self, buffer: Tensor, pictures: Pictures, scene: Scene) -> None:
        """Decode one picture after the other into its place, so that no more than one is held twice."""
        for i, begin, end in zip(scene.train_views, self.starts[:-1].tolist(), self.starts[1:].tolist()):
            buffer[begin:end] = torch.tensor(pictures[i]).reshape(end - begin, *buffer.shape[1:])

    def batch(
        self, step: int, n_rays: int, *, part: int = 0, parts: int = 1, device: torch.device | str = "cpu"
    ) -> RayBatch:
        """The batch of `n_rays` of a step, or every `parts`-th ray of it from `part` on."""
        generator = torch.Generator().manual_seed(step_seed(self.seed, step))
        total = len(self.pixels) if self.drawable is None else len(self.drawable)
        chosen = torch.randint(total, (n_rays,), generator=generator)
        jitter = torch.rand(n_rays, generator=generator)
        background = torch.rand(3, generator=generator) if self.random_background else torch.ones(3)
        mine = slice(part, None, parts)
        chosen, jitter = chosen[mine].contiguous(), jitter[mine]
        pixel = chosen if self.drawable is None else self.drawable[chosen]
        local = torch.searchsorted(self.starts, pixel, right=True) - 1
        inside = pixel - self.starts[local]
        column, row = inside % self.widths[local], inside // self.widths[local]
        view = self.views[local]
        rays = self.cameras.rays(view, torch.stack([column, row], dim=-1) + 0.5)
        rgb = self.pixels[pixel].float() / 255
        coverage = torch.ones(len(pixel))
        if self.coverage is not None:
            coverage = self.coverage[pixel].float() / 255
            rgb = rgb * coverage[:, None] + background * (1 - coverage[:, None])
        return RayBatch(
            rays.to(device),
            rgb.to(device),
            coverage.to(device),
            view.to(device),
            jitter.to(device),
            background.to(device),
        )
