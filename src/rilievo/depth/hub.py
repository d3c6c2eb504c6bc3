"""Depth of a photograph by a model of the Hugging Face hub, through transformers' pipeline for it: an optional part.

Some of these models say depth, others its inverse. Of those that tell (`depth_estimation_type`), "relative" means the
inverse; of those that do not, the ones of MiDaS's family (DPT), unless their names say that they were trained for
metres. What comes out is larger farther away, and right up to a monotone map, which is all that alignment to the
cameras asks for (`methods.modgs.depths`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from PIL import Image

from rilievo.errors import clear

HUB = "hub:"
"""What a folder of depth files does not begin with."""
FARTHEST = 1e-3
"""Least inverse depth, in those of the nearest pixel: the sky is not infinitely far."""
INVERSE_FAMILY, METRIC_MARKS = "dpt", ("nyu", "kitti", "metric")

DepthProvider = Callable[[UInt8[np.ndarray, "h w 3"]], Float32[np.ndarray, "h w"]]
"""Depth of a photograph (sRGB) at its size, larger farther away, above 0."""


def hub_depth(name: str) -> DepthProvider:
    """The depth model `name` of the hub, or in a local folder.

    Raises `UserError` when transformers is missing, or the model is neither there nor can be fetched.
    """
    try:
        from transformers import pipeline
    except ImportError as error:
        raise clear(
            f"depth by {name}",
            expected="the Python module transformers",
            got="it is not installed",
            do="pip install 'rilievo[depth]', or save depth of each frame NAME as depth_mono/NAME.npz",
        ) from error
    try:
        estimate = pipeline("depth-estimation", model=name)
    except (OSError, ValueError) as error:
        raise clear(
            f"depth by {name}",
            expected="a depth model on the Hugging Face hub or in a folder",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            do="check the name and the connection, or download it to a folder first",
        ) from error
    is_inverse = says_inverse(estimate.model.config, name)

    def depth(photo: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
        found = torch.as_tensor(estimate(Image.fromarray(photo))["predicted_depth"]).float()
        found = F.interpolate(found.reshape(1, 1, *found.shape[-2:]), photo.shape[:2], mode="bilinear")[0, 0]
        if is_inverse:
            found = 1 / found.clamp_min(FARTHEST * float(found.max().clamp_min(FARTHEST)))
        return found.numpy()

    return depth


def says_inverse(config: Any, name: str) -> bool:
    """Whether a model's numbers are larger where it is nearer."""
    told = getattr(config, "depth_estimation_type", None)
    if told is not None:
        return told == "relative"
    return config.model_type == INVERSE_FAMILY and not any(mark in name.lower() for mark in METRIC_MARKS)
