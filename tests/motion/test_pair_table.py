"""Which pairs are trained on, and the box of the points."""

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.motion.lift import point_map, targets
from rilievo.motion.pair_table import UnitBox, target_probabilities, target_weights


def test_probabilities_of_each_source_add_to_one_and_never_name_itself():
    counts = torch.randint(1, 50, (9, 9), generator=torch.Generator().manual_seed(0))
    for window in (1, 3, 20):
        table = target_probabilities(target_weights(counts), window)
        torch.testing.assert_close(table.sum(1), torch.ones(9, dtype=torch.float64))
        assert float(table.diagonal().abs().max()) == 0


def test_a_frame_without_believed_flow_is_named():
    counts = torch.ones(4, 4, dtype=torch.int64)
    counts[2] = 0
    with pytest.raises(UserError, match="frame 2"):
        target_weights(counts)


def test_the_unit_box_goes_there_and_back():
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([4.0, 1.0, 2.0]) + 7
    box = UnitBox.around(points)
    inside = box.inside(points)
    assert float((inside.amax(0) - inside.amin(0)).max()) == pytest.approx(2, rel=1e-5)
    torch.testing.assert_close(inside.amax(0), -inside.amin(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(box.outside(inside), points)
    with pytest.raises(UserError, match="extent"):
        UnitBox.around(points[:1])


@pytest.mark.golden
def test_published_sampling_and_normalisation(shared):
    arrays = np.load(shared / "golden" / "dynamic" / "flow.npz")
    counts = torch.from_numpy(arrays["exh/flow_stats_after_chain"]).long()
    weights = target_weights(counts)
    torch.testing.assert_close(
        weights.float(), torch.from_numpy(arrays["dataset/sample_weights"]), atol=1e-6, rtol=1e-5
    )
    table = target_probabilities(weights, int(arrays["dataset/init_interval"]))
    published = torch.from_numpy(arrays["dataset/target_sampling_prob"])
    torch.testing.assert_close(table.float(), published, atol=1e-6, rtol=1e-5)
    n = len(counts)
    points = torch.cat([torch.from_numpy(arrays[f"corr2/{i}/pcd_xyzrgb"])[:, :3] for i in range(n)])
    box = UnitBox.around(points)
    low, high, middle = arrays["dataset/rescale_min_max_mean"]
    np.testing.assert_allclose(points.amin(0), low, atol=1e-5)
    np.testing.assert_allclose(points.amax(0), high, atol=1e-5)
    np.testing.assert_allclose(box.center, middle, atol=1e-5)
    assert box.scale == pytest.approx(float(arrays["dataset/rescale_scale"]), rel=1e-5)
    kept = ~torch.from_numpy(arrays["dataset/item1/val_mask"])
    i, j = (int(name) for name in str(arrays["dataset/item1/from_to"]).split("_"))
    source = torch.from_numpy(arrays[f"corr2/{i}/pcd_xyzrgb"])[:, :3][kept]
    torch.testing.assert_close(box.inside(source), torch.from_numpy(arrays["dataset/item1/pcd"]), atol=1e-5, rtol=1e-5)
    assert [len(arrays[f"corr2/{k}/pcd_xyzrgb"]) for k in range(n)] == arrays["dataset/points_per_frame"].tolist()
    pose = torch.linalg.inv(torch.from_numpy(arrays["corr2/w2c"]).double())
    depth, K = (torch.from_numpy(arrays[f"corr2/{name}"]) for name in ("depth", "intrinsics"))
    here, there = (point_map(depth[k], K, pose) for k in (i, j))
    believed = torch.from_numpy(arrays["corr2/mask_used_3ch"][i, j, ..., 0])
    arrived = targets(there, torch.from_numpy(arrays["corr2/flow_used"][i, j]), believed)
    valid = torch.from_numpy(arrays["dataset/item1/mask"])
    assert (arrived.valid[here.known][kept] != valid).sum() <= 2
    both = valid & arrived.valid[here.known][kept]
    published = torch.from_numpy(arrays["dataset/item1/target_invalid_zeroed"])
    torch.testing.assert_close(
        box.inside(arrived.xyz[here.known][kept][both].float()), published[both], atol=1e-5, rtol=1e-5
    )
    assert arrays["dataset/item1/times"] == pytest.approx([i / n, j / n])  # ours are i / (n - 1) throughout
