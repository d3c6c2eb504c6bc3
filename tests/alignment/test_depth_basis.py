"""The low-rank depth basis: the published subspace, and exactness at full rank."""

import numpy as np
import pytest
import torch

from rilievo.alignment.depth_basis import LowRank, depth_basis, laplacian_spectrum, similarities


@pytest.mark.golden
def test_subspace_spectrum_and_depth_are_the_published_ones(arrays):
    data = arrays("canonical.npz")
    names = sorted({name.split("/")[0] for name in data if name.startswith("spectral")})
    assert names
    for name in names:
        rank, gamma, least = (float(part.lstrip("kgmn")) for part in name.split("_")[1:])
        points = torch.from_numpy(data[f"{name}/backproj"]).reshape(-1, 3)
        depth = torch.from_numpy(data[f"{name}/depth_in"]).reshape(-1)
        similarity = similarities(points, gamma)
        np.testing.assert_allclose(similarity, data[f"{name}/graph_similarity"], rtol=1e-4, atol=1e-5)
        values, _ = laplacian_spectrum(similarity.double())
        np.testing.assert_allclose(values, data[f"{name}/eigenvalues_ascending"], rtol=1e-4, atol=1e-5)
        basis = depth_basis(points, depth, LowRank(int(rank), gamma, least))
        unit = basis.matrix / basis.matrix.norm(dim=0)
        cut = basis.matrix.shape[1]
        gap = float(values[cut] - values[cut - 1]) if cut < len(values) else 1.0
        rounding = 8 * np.finfo(np.float32).eps / gap  # the published one is float32 throughout
        projector = data[f"{name}/subspace_projector"]
        np.testing.assert_allclose(unit @ unit.mT, projector, rtol=1e-4, atol=1e-5 + rounding)
        rebuilt = (basis.matrix @ basis.coefficients).reshape(data[f"{name}/depth_reconstructed"].shape)
        np.testing.assert_allclose(rebuilt, data[f"{name}/depth_reconstructed"], rtol=1e-4, atol=1e-5)
        assert basis.matrix.norm(dim=0).min() >= least * (1 - 1e-4)


def test_a_basis_of_full_rank_holds_every_depth():
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(20, 3, generator=generator) + torch.tensor([0.0, 0.0, 1.0])
    basis = depth_basis(points, points[:, 2], LowRank(rank=20))
    np.testing.assert_allclose(basis.matrix @ basis.coefficients, points[:, 2], rtol=1e-5)
