"""The nearest points of a cloud to each of its points. Found once per cloud, since positions do not change."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from scipy.spatial import cKDTree
from torch import Tensor

from rilievo.errors import clear


def nearest_neighbors(points: Float[Tensor, "n 3"], k: int) -> Int64[Tensor, "n k"]:
    """Indices of the k nearest other points of each point, near first.

    Raises `UserError` when there are not more than k points, or one of them is not finite.
    """
    if len(points) <= k or not bool(points.isfinite().all()):
        raise clear(
            "points to find neighbours among",
            expected=f"more than {k}, all finite",
            got=f"{len(points)}" + ("" if bool(points.isfinite().all()) else ", some not finite"),
            do="check depth and masks: too little of the frame may be left",
        )
    cloud = points.detach().double().cpu().numpy()
    found = torch.from_numpy(cKDTree(cloud).query(cloud, k + 1)[1])
    # a point's own index is usually, but with coinciding points not always, the first
    own = torch.arange(len(found))[:, None]
    is_self = found == own
    is_self[~is_self.any(1), -1] = True
    return found[~is_self].view(len(found), k).to(points.device)
