"""Points from depth, and where flow takes them."""

import numpy as np
import pytest
import torch

from rilievo.motion.lift import point_map, targets


@pytest.fixture(scope="module")
def arrays(shared):
    return np.load(shared / "golden" / "dynamic" / "flow.npz")


def camera(width=8, height=6):
    K = torch.tensor([[10.0, 0.0, width / 2], [0.0, 10.0, height / 2], [0.0, 0.0, 1.0]])
    return K, torch.eye(4)


def test_points_project_back_onto_their_pixel_centres():
    K, pose = camera()
    pose = pose.clone()
    pose[:3, 3] = torch.tensor([1.0, -2.0, 0.5])
    depth = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) + 1
    points = point_map(depth, K, pose).xyz - pose[:3, 3]
    pixels = points @ K.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    torch.testing.assert_close(pixels[2, 5], torch.tensor([5.5, 2.5]))
    torch.testing.assert_close(points[..., 2], depth)


def test_holes_and_nan_have_no_point_and_give_no_target_beside_them():
    K, pose = camera()
    depth = torch.full((6, 8), 2.0)
    depth[2, 3], depth[4, 4], depth[5, 0] = torch.nan, 0.0, -1.0
    points = point_map(depth, K, pose)
    assert int((~points.known).sum()) == 3
    assert points.xyz.isfinite().all()
    half_right = torch.tensor([0.5, 0.0]).expand(6, 8, 2)
    valid = targets(points, half_right).valid
    assert not valid[2, 2]
    assert not valid[2, 3]
    assert valid[2, 4]


def test_a_point_of_a_plane_arrives_on_the_plane():
    K, pose = camera()
    flow = torch.tensor([1.25, -0.5]).expand(6, 8, 2)
    plane = point_map(torch.full((6, 8), 3.0), K, pose)
    arrived = targets(plane, flow)
    expected = plane.xyz + torch.tensor([1.25, -0.5, 0.0]) * 3.0 / 10
    torch.testing.assert_close(arrived.xyz[1:5, 1:6], expected[1:5, 1:6])
    assert not arrived.valid[0].any()
    assert not arrived.valid[:, 7].any()


@pytest.mark.golden
@pytest.mark.parametrize("case", ["corr", "corr2"])
def test_published_pairs(arrays, case):
    depth = torch.from_numpy(arrays[f"{case}/depth"])
    K = torch.from_numpy(arrays[f"{case}/intrinsics"])
    if case == "corr2":
        world_from_cam = torch.linalg.inv(torch.from_numpy(arrays["corr2/w2c"]).double())
        flows, believed = arrays["corr2/flow_used"], arrays["corr2/mask_used_3ch"][..., 0]
    else:
        world_from_cam = torch.linalg.inv(torch.from_numpy(arrays["corr/world_view_transform_transposed"]).T.double())
        flows, believed = arrays["exh/flows_after_chain"], arrays["exh/masks_after_chain"][..., 0] > 0
    maps = [point_map(d, K, world_from_cam) for d in depth]
    for i, source in enumerate(maps):
        if f"{case}/{i}/pcd_xyzrgb" in arrays:
            published = torch.from_numpy(arrays[f"{case}/{i}/pcd_xyzrgb"])[:, :3]
            torch.testing.assert_close(source.xyz[source.known], published, atol=1e-5, rtol=1e-5)
    pairs = [name.split("/")[1] for name in arrays.files if name.startswith(f"{case}/") and name.endswith("/mask")]
    assert pairs
    for pair in pairs:
        i, j = map(int, pair.split("_"))
        arrived = targets(maps[j], torch.from_numpy(flows[i, j]), torch.from_numpy(believed[i, j]))
        known = maps[i].known
        valid = torch.from_numpy(arrays[f"{case}/{pair}/mask"])
        assert (arrived.valid[known] != valid).sum() <= 2
        both = arrived.valid[known] & valid
        published = torch.from_numpy(arrays[f"{case}/{pair}/pcd_target_invalid_zeroed"])[:, :3]
        torch.testing.assert_close(arrived.xyz[known][both], published[both], atol=1e-5, rtol=1e-5)
