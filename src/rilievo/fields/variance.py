"""The sharpness of a NeuS surface: s⁻¹ = `inv_s` = exp(10 v) with one learned number v (arXiv:2106.10689, section
3.1).

Large `inv_s` means a thin surface. It may be capped by a ramp, so that late training cannot sharpen faster than
wished.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

INV_S_RANGE = (1e-6, 1e6)
"""Beyond these a sigmoid is a constant or a step in float32 and nothing is learned."""


@dataclass(frozen=True)
class SharpnessCap:
    """From `start_step` on `inv_s` stays below a line that reaches `max_inv_s` at `reach_step`.

    The line is from the `inv_s` at `start_step`, drawn over step / reach_step: counted from step 0, so it begins with
    a jump.
    """

    start_step: int = 1000
    reach_step: int = 5000
    max_inv_s: float = 512.0


class InverseDeviation(nn.Module):
    """One learned number v; `inv_s` is exp(10 v), under the cap where one is set."""

    def __init__(self, init: float = 0.3, cap: SharpnessCap | None = None) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.tensor(float(init)))
        self.cap = cap
        self.inv_s_before_cap: Tensor
        self.register_buffer("inv_s_before_cap", torch.tensor(10.0 * init).exp())
        self._step = 0

    def set_step(self, step: int) -> None:
        """Call at each training step, before it: the cap remembers the last uncapped value (kept in checkpoints)."""
        self._step = step
        if self.cap is not None and step <= self.cap.start_step:
            self.inv_s_before_cap.copy_(self._uncapped().detach())

    @property
    def inv_s(self) -> Float[Tensor, ""]:
        """1/s, in one over the units of the distance."""
        inv_s = self._uncapped()
        if self.cap is None or self._step <= self.cap.start_step:
            return inv_s
        begin, end = self.inv_s_before_cap, self.cap.max_inv_s
        ceiling = (begin + (end - begin) * (self._step / self.cap.reach_step)).clamp(max=end)
        return torch.minimum(inv_s, ceiling)

    def _uncapped(self) -> Tensor:
        return (10.0 * self.raw).exp().clamp(*INV_S_RANGE)
