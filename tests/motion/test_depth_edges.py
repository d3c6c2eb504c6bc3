"""Where depth jumps."""

import numpy as np
import pytest
import torch

from rilievo.motion.depth_edges import steep_pixels


def test_the_two_sides_of_a_step_are_steep_and_its_flats_are_not():
    depth = torch.full((20, 30), 2.0)
    depth[:, 12:] = 5.0
    steep = steep_pixels(depth, 40.0, 0.9)
    assert steep[1:-1, 11:13].all()
    assert not steep[:, :11].any()
    assert not steep[0].any()


@pytest.mark.golden
def test_published_masks_of_what_is_no_edge(shared):
    folder = shared / "golden" / "dynamic"
    arrays = np.load(folder / "flow.npz")
    files = sorted((folder / "mini_selfmade" / "GeoWizardOut" / "depth_npy").glob("*.npy"))
    reference, factors = int(arrays["align/reference_index"]), list(arrays["align/per_frame_rescale"])
    if len(factors) == len(files) - 1:
        factors.insert(reference, 1.0)
    published = arrays["align/nonedge_masks_q090"] > 0
    assert len(files) == len(published)
    for path, (scale, shift), factor, kept in zip(files, arrays["align/per_frame_st"], factors, published, strict=True):
        depth = torch.from_numpy((scale * np.load(path) + shift) * factor).double()
        assert (steep_pixels(depth, 800.0, 0.9).numpy() == kept).sum() <= 2, path.name  # ties at the quantile
