"""The marcher as a torch operator. It has no derivatives: where samples lie is a decision, not a function."""

from torch import Tensor
from torch.library import get_ctx

from rilievo.ops.library import operator
from rilievo.ops.ray_march import cpu


def _some_samples(origins: Tensor, directions: Tensor, start: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    samples = get_ctx().new_dynamic_size()
    offsets = start.new_empty(start.shape[0] + 1, dtype=cpu.OFFSET)
    return offsets, start.new_empty(samples), start.new_empty(samples)


march_rays = operator(cpu.march_rays, fake=_some_samples)
