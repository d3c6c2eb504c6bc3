"""Round trips of flow, flow between all frames, and chains."""

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.flow import absolute_consistency, carried, chained, judged, occluded, relative_consistency, resize_flow


@pytest.fixture(scope="module")
def arrays(shared):
    return np.load(shared / "golden" / "dynamic" / "flow.npz")


def tensor(arrays, name):
    return torch.from_numpy(arrays[name])


def shift(height, width, u, v):
    return torch.tensor([u, v]).expand(height, width, 2).clone()


def test_a_translation_and_its_opposite_agree_wherever_the_target_is_inside():
    flow, back = shift(9, 12, 4.0, 0.0), shift(9, 12, -4.0, 0.0)
    for judge in (relative_consistency, absolute_consistency):
        agreed = judge(flow, back)
        assert agreed[:, :8].all()
        assert not agreed[:, 8:].any()


def test_a_pixel_hidden_behind_a_moving_block_is_told_from_one_with_wrong_flow():
    """The scene stands still; a block that came over it goes back with its own flow."""
    flow, back = shift(20, 40, 0.0, 0.0), shift(20, 40, 0.0, 0.0)
    back[:, 10:20] = torch.tensor([-10.0, 0.0])
    flow[:, :10] = torch.tensor([10.0, 0.0])
    hidden = occluded(flow, back)
    assert hidden[:, 11:19].all()
    assert not hidden[:, 20:].any()


def test_resized_flow_of_a_translation_is_the_scaled_translation():
    torch.testing.assert_close(resize_flow(shift(6, 8, 2.0, 3.0), 3, 16), shift(3, 16, 4.0, 1.5))


def test_a_chain_of_translations_reaches_where_the_direct_flow_failed():
    flows = torch.zeros(3, 3, 8, 30, 2)
    for i in range(3):
        for j in range(3):
            flows[i, j] = shift(8, 30, 2.0 * (j - i), 0.0)
    flows[0, 2] = shift(8, 30, -20.0, 0.0)
    pairs = judged(flows)
    assert not pairs.cycle[0, 2].any()
    through = chained(pairs, torch.full((3, 8, 30, 3), 0.5))
    torch.testing.assert_close(through.flows[0, 2][:, :26], shift(8, 26, 4.0, 0.0))
    assert through.cycle[0, 2][:, :26].all()
    assert not pairs.cycle[0, 2].any(), "tables that were given are not written to"


def test_a_clip_of_one_frame_has_no_pairs():
    with pytest.raises(UserError, match="two"):
        judged(torch.zeros(1, 1, 4, 4, 2))


def test_flow_that_is_not_finite_is_refused():
    with pytest.raises(UserError, match="NaN"):
        judged(torch.full((2, 2, 4, 4, 2), torch.nan))


@pytest.mark.golden
@pytest.mark.parametrize("case", ["fb", "fb2"])
def test_published_relative_consistency(arrays, case):
    fwd, bwd = tensor(arrays, f"{case}/fwd"), tensor(arrays, f"{case}/bwd")
    torch.testing.assert_close(
        carried(bwd, fwd, "bicubic"), tensor(arrays, f"{case}/bwd_warped_by_fwd"), atol=5e-3, rtol=0
    )
    for flow, back, name in ((fwd, bwd, "fwd_mask"), (bwd, fwd, "bwd_mask")):
        assert (relative_consistency(flow, back) != tensor(arrays, f"{case}/{name}")).sum() <= 4


@pytest.mark.golden
def test_published_resized_flow(arrays):
    name = next(key for key in arrays.files if key.startswith("resize/out_"))
    height, width = map(int, name.removeprefix("resize/out_").split("x"))
    resized = resize_flow(tensor(arrays, "resize/in"), height, width)
    torch.testing.assert_close(resized, tensor(arrays, name), atol=1e-5, rtol=1e-5)


@pytest.mark.golden
def test_published_masks_of_all_pairs(arrays):
    pairs = judged(tensor(arrays, "exh/flows_before_chain"), tensor(arrays, "exh/features"))
    published = tensor(arrays, "exh/masks_after_filter") > 0
    torch.testing.assert_close(pairs.cycle, published[..., 0])
    torch.testing.assert_close(pairs.occluded, published[..., 1])
    torch.testing.assert_close(pairs.counts().int(), tensor(arrays, "exh/flow_stats_after_filter"))
    torch.testing.assert_close(pairs.count_maps().int(), tensor(arrays, "exh/count_maps_after_filter"))


@pytest.mark.golden
def test_published_chained_flow(arrays):
    """The flow is equal everywhere; which chained pixels to believe is decided the same for all but a few in a
    thousand.
    """
    features = tensor(arrays, "exh/features")
    pairs = chained(
        judged(tensor(arrays, "exh/flows_before_chain"), features), tensor(arrays, "exh/images") / 255, features
    )
    torch.testing.assert_close(pairs.flows, tensor(arrays, "exh/flows_after_chain"), atol=1e-5, rtol=1e-5)
    published = tensor(arrays, "exh/masks_after_chain") > 0
    assert (pairs.cycle != published[..., 0]).float().mean() < 4e-3
    torch.testing.assert_close(pairs.occluded, published[..., 1])
    counted = tensor(arrays, "exh/flow_stats_after_chain")
    assert ((pairs.counts() - counted).abs() <= 0.02 * counted + 2).all()
