"""References of the dynamic part, and clouds drawn at random."""

from pathlib import Path

import pytest
import torch

from rilievo.gaussians.cloud import GaussianCloud


@pytest.fixture(scope="session")
def dynamic(shared: Path) -> Path:
    """Numeric references computed with published Gaussian splatting."""
    return shared / "golden" / "dynamic"


@pytest.fixture
def cloud() -> GaussianCloud:
    """Fifty Gaussians with colours of degree 2, a few of them far away."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    means = normal(50, 3)
    means[:5] *= 300
    return GaussianCloud(
        means=means,
        log_scales=normal(50, 3) * 0.5 - 3,
        quats=normal(50, 4),
        opacity_logits=normal(50) * 2,
        sh_dc=normal(50, 3),
        sh_rest=normal(50, 8, 3) * 0.2,
    )
