"""Clouds in files: exactly in PLY, within the stated rounding in the compact format."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh

from rilievo.errors import UserError
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.compact import read_compact, write_compact
from rilievo.gaussians.ply import read_gaussians, write_gaussians
from rilievo.geometry import so3
from rilievo.io.ply import read_table, write_points


def test_a_ply_holds_a_cloud_exactly(cloud, tmp_path):
    write_gaussians(tmp_path / "a.ply", cloud)
    read = read_gaussians(tmp_path / "a.ply")
    assert all(torch.equal(values, getattr(read, name)) for name, values in cloud.items())


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_an_empty_cloud_has_a_file_too(degree, tmp_path):
    for write, read, name in (
        (write_gaussians, read_gaussians, "a.ply"),
        (write_compact, read_compact, "a.npz"),
    ):
        write(tmp_path / name, GaussianCloud.empty(degree))
        read_again = read(tmp_path / name)
        assert len(read_again) == 0
        assert read_again.sh_degree == degree


def test_plain_points_and_odd_coefficients_are_no_gaussians(cloud, tmp_path):
    write_points(tmp_path / "points.ply", np.zeros((4, 3), np.float32))
    with pytest.raises(UserError, match="no f_dc_0"):
        read_gaussians(tmp_path / "points.ply")
    write_gaussians(tmp_path / "odd.ply", dataclasses.replace(cloud, sh_rest=cloud.sh_rest[:, :5]))
    with pytest.raises(UserError, match="15 f_rest"):
        read_gaussians(tmp_path / "odd.ply")


def test_the_compact_file_is_a_cloud_within_its_rounding(cloud, tmp_path):
    write_compact(tmp_path / "a.npz", cloud)
    read = read_compact(tmp_path / "a.npz")
    match = torch.cdist(cloud.means, read.means).argmin(1)  # the file has an order of its own
    assert sorted(match.tolist()) == list(range(50))
    read = read[match]
    middle = cloud.means.median(0).values
    away = torch.linalg.vector_norm(cloud.means - middle, dim=-1)
    assert (torch.linalg.vector_norm(read.means - cloud.means, dim=-1) < 5e-4 * (1 + away)).all()
    steps = (cloud.log_scales.amax(0) - cloud.log_scales.amin(0)) / 255
    assert ((read.log_scales - cloud.log_scales).abs() <= steps * 0.501 + 1e-6).all()
    turned = so3.angle(so3.matrix_from_quaternion(read.quats), so3.matrix_from_quaternion(cloud.quats))
    assert turned.max() < 0.02
    assert (read.opacities - cloud.opacities).abs().max() < 0.02
    assert (read.sh_dc - cloud.sh_dc).abs().max() < 0.02
    assert (read.sh_rest - cloud.sh_rest).abs().max() < 0.02


def test_the_compact_file_is_less_than_a_quarter_of_the_ply(tmp_path):
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(3000, width, generator=generator) for width in (3, 3, 4, 3)]
    rest = torch.randn(3000, 15, 3, generator=generator) * 0.05
    cloud = GaussianCloud(*parts[:3], torch.randn(3000, generator=generator), parts[3], rest)
    write_gaussians(tmp_path / "a.ply", cloud)
    write_compact(tmp_path / "a.npz", cloud)
    assert (tmp_path / "a.npz").stat().st_size < 0.25 * (tmp_path / "a.ply").stat().st_size


def test_what_is_no_compact_cloud_is_refused(cloud, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_compact(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(UserError, match="damaged or foreign"):
        read_compact(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(UserError, match="damaged or foreign"):
        read_compact(tmp_path / "other.npz")
    with pytest.raises(UserError, match="finite"):
        write_compact(tmp_path / "nan.npz", dataclasses.replace(cloud, sh_dc=cloud.sh_dc * torch.nan))


@pytest.mark.golden
def test_the_published_ply_is_read_and_written_exactly(dynamic, tmp_path):
    files = sorted(dynamic.glob("ply_sh*.ply"))
    assert files
    for path in files:
        held = np.load(path.with_suffix(".npz"))
        cloud = read_gaussians(path)
        found = {"xyz": cloud.means, "f_dc": cloud.sh_dc[:, None], "f_rest": cloud.sh_rest}
        found |= {"scaling": cloud.log_scales, "rotation": cloud.quats, "opacity": cloud.opacity_logits[:, None]}
        for name, values in found.items():
            assert np.array_equal(values.numpy(), held[name].reshape(values.shape)), f"{path.name}: {name}"
        write_gaussians(tmp_path / path.name, cloud)
        table = read_table(tmp_path / path.name)
        assert list(table) == held["property_names"].tolist()
        assert np.array_equal(np.stack(list(table.values()), axis=1), held["table"])
        torch.testing.assert_close(cloud.scales, torch.from_numpy(held["act_scale"]))
        torch.testing.assert_close(cloud.opacities[:, None], torch.from_numpy(held["act_opacity"]))


@pytest.mark.parametrize("degree", [0, 2])
def test_another_library_reads_the_same_cloud(cloud, degree, tmp_path):
    cloud = dataclasses.replace(cloud, sh_rest=cloud.sh_rest[:, : (degree + 1) ** 2 - 1])
    write_gaussians(tmp_path / "a.ply", cloud)
    opened = trimesh.load(tmp_path / "a.ply", process=False)
    np.testing.assert_array_equal(opened.vertices.astype(np.float32), cloud.means.numpy())
    held = opened.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(np.asarray(held["opacity"]).ravel(), cloud.opacity_logits.numpy())
    for stem, table in {
        "f_dc": cloud.sh_dc,
        "f_rest": cloud.sh_rest.mT.flatten(1),
        "scale": cloud.log_scales,
        "rot": cloud.quats,
    }.items():
        for i, column in enumerate(table.unbind(1)):
            np.testing.assert_array_equal(np.asarray(held[f"{stem}_{i}"]).ravel(), column.numpy(), err_msg=stem)
