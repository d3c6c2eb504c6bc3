"""Cameras that tests share: random places, lenses as phones have them."""

import torch

from rilievo.cameras.camera import Cameras
from rilievo.geometry import se3

PHONE = [0.04, -0.05, 0.01, 0.0, 0.0, 0.0, 1e-3, -5e-4]
RATIONAL = [0.3, -0.1, 0.01, 0.5, -0.05, 0.002, -1e-3, 2e-3]
BARREL = [-0.3, 0.1, -0.01, 0.0, 0.0, 0.0, 0.0, 0.0]
FISHEYE = [0.05, -0.01, 0.002, -0.0003, 0.0, 0.0, 0.0, 0.0]
NONE = [0.0] * 8


def random_cameras(lenses: list[list[float]], fisheye: list[bool], seed: int = 0) -> Cameras:
    """One small camera per lens, anywhere, with different sizes, focal lengths and some skew."""
    g = torch.Generator().manual_seed(seed)
    n = len(lenses)
    pose = se3.exp(torch.randn(n, 6, generator=g, dtype=torch.float64))
    sizes_px = torch.randint(20, 40, (n, 2), generator=g)
    K = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    K[:, 0, 0], K[:, 1, 1] = 30 + 5 * torch.rand(2, n, generator=g, dtype=torch.float64)
    K[:, :2, 2] = sizes_px / 2 + torch.randn(n, 2, generator=g, dtype=torch.float64)
    K[:, 0, 1] = 0.1
    return Cameras(pose, K, sizes_px, torch.tensor(lenses, dtype=torch.float64), torch.tensor(fisheye))


def mixed_cameras(seed: int = 0) -> Cameras:
    return random_cameras([NONE, PHONE, RATIONAL, BARREL, FISHEYE], [False, False, False, False, True], seed)
