"""Packed samples: rays of different lengths in one list, without padding.

Ray i owns samples offsets[i] … offsets[i + 1] - 1, near to far. `offsets` has one entry more than there are rays,
starts at 0 and ends at the number of samples (the row pointer of a CSR matrix). `ray_index` says the same per sample.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.errors import clear


@dataclass(frozen=True)
class PackedSamples:
    """Intervals of rays, as the marcher found them. Distances `t` in units of the ray's direction."""

    offsets: Int64[Tensor, "rays_plus_1"]
    t_starts: Float[Tensor, "samples"]
    t_ends: Float[Tensor, "samples"]

    @cached_property
    def ray_index(self) -> Int64[Tensor, "samples"]:
        """The ray that owns each sample."""
        return ray_index_from_offsets(self.offsets, len(self.t_starts))

    @property
    def counts(self) -> Int64[Tensor, "rays"]:
        """How many samples each ray owns."""
        return self.offsets.diff()

    @property
    def midpoints(self) -> Float[Tensor, "samples"]:
        return (self.t_starts + self.t_ends) / 2

    @property
    def intervals(self) -> Float[Tensor, "samples"]:
        """The length of each interval."""
        return self.t_ends - self.t_starts

    def __len__(self) -> int:
        return len(self.t_starts)


def ray_index_from_offsets(
    offsets: Int64[Tensor, "rays_plus_1"], samples: int | None = None
) -> Int64[Tensor, "samples"]:
    """The ray that owns each sample; giving the number of samples spares a GPU the wait for it."""
    rays = torch.arange(len(offsets) - 1, device=offsets.device)
    return rays.repeat_interleave(offsets.diff(), output_size=samples)


def offsets_from_ray_index(ray_index: Int64[Tensor, "samples"], rays: int) -> Int64[Tensor, "rays_plus_1"]:
    """Where each of `rays` rays begins, from a sorted list of owners; rays that own nothing are allowed anywhere."""
    return torch.searchsorted(ray_index, torch.arange(rays + 1, device=ray_index.device))


def check_offsets(offsets: Tensor, samples: int) -> None:
    """Raise `UserError` unless `offsets` divides this many samples among rays.

    Only the ends are looked at, and on a GPU nothing is: reading them would make every kernel wait.
    """
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype != torch.int64:
        raise clear(
            "offsets",
            expected="one int64 entry per ray and a last one",
            got=f"{offsets.dtype} of shape {tuple(offsets.shape)}",
            do="make them with offsets_from_ray_index",
        )
    if offsets.device.type == "cpu" and (int(offsets[0]), int(offsets[-1])) != (0, samples):
        raise clear(
            "offsets",
            expected=f"a list from 0 to the number of samples, {samples}",
            got=f"{int(offsets[0])} to {int(offsets[-1])}",
            do="pass the offsets that came with these samples",
        )
