"""Losses, not yet averaged: one value per ray or per sample. Whoever trains takes the mean, over all processes at
once.
"""

from .color import charbonnier, l1, mse, smooth_l1
from .distance import curvature, eikonal, sparsity
from .distortion import distortion
from .opacity import binary_cross_entropy, mask_loss, opaque_loss
from .similarity import dssim

__all__ = [
    "binary_cross_entropy",
    "charbonnier",
    "curvature",
    "distortion",
    "dssim",
    "eikonal",
    "l1",
    "mask_loss",
    "mse",
    "opaque_loss",
    "smooth_l1",
    "sparsity",
]
