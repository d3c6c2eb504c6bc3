"""Gaussians as teachers of a field: published draws, errors and gradients, and discs that points lie on."""

import dataclasses

import numpy as np
import pytest
import torch

from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.skip_mlp import SkipMLP
from rilievo.fields.udf import UdfField
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.losses.gaussian_udf import projection_distance, pulled
from rilievo.methods.udf.config import PullConfig
from rilievo.methods.udf.discs import (
    disc_error,
    drawn_discs,
    far_error,
    points_on_discs,
    pulled_points,
    within,
)

from ..fields.published_udf import published_udf_network

SETTINGS = ["dtu", "deepfashion"]
THIN = -9.0
"""Logarithm of the third scale, which published Gaussians have not."""


class Draws:
    """The stored random tensors of a setting, each kind in its order, for whoever asks torch for one.

    Published samples were shuffled after they were drawn, which ours are not: what belongs to shuffled discs is put
    back in order first.
    """

    def __init__(self, arrays, setting):
        prefix = f"{setting}/random_draws/"
        names = sorted(k for k in arrays.files if k.startswith(prefix) and k[len(prefix)].isdigit())
        self.kinds = {kind: [] for kind in ("rand", "randn", "randint", "randperm")}
        for name in names:
            self.kinds[name.rsplit("_", 1)[1]].append(torch.from_numpy(arrays[name]))
        self.far_order, self.near_order = self.kinds["randperm"][0], self.kinds["randperm"][-1]
        each = int(arrays[f"{setting}/root_num"])
        discs = len(arrays[f"{setting}/near/gaussian_index"])
        shuffled = self.kinds["randperm"][1] if len(self.kinds["randperm"]) > 2 else torch.arange(discs)
        self.disc_order = shuffled
        self.kinds["randn"][-1] = unshuffled(self.kinds["randn"][-1].view(discs, each, 3), shuffled)[..., :2]
        for i in (-1, -2):
            self.kinds["rand"][i] = unshuffled(self.kinds["rand"][i].view(discs, each), shuffled).flatten()

    def replace_torch(self, monkeypatch):
        for kind in ("rand", "randn"):
            left = iter(self.kinds[kind])
            monkeypatch.setattr(torch, kind, lambda *size, generator=None, left=left: next(left).reshape(size))
        left = iter(self.kinds["randint"])
        monkeypatch.setattr(torch, "randint", lambda high, size, generator=None: next(left).reshape(size))


def unshuffled(values, order):
    out = torch.empty_like(values)
    out[order] = values
    return out


class Published:
    """Field and Gaussians of the fixture, ready to learn."""

    def __init__(self, arrays, setting):
        self.arrays, self.setting = arrays, setting
        self.field = published_udf_network(arrays, "sd/field", activation="relu")
        xyz, scaling, rotation = (
            torch.from_numpy(arrays[f"gaussians/{name}"])
            for name in ("xyz", "scaling_log", "rotation_wxyz_unnormalised")
        )
        self.xyz, self.scaling, self.rotation = (t.requires_grad_() for t in (xyz, scaling, rotation))
        thin = torch.full_like(self.scaling[:, :1], THIN)
        n = len(xyz)
        scales = torch.cat([self.scaling, thin], -1)
        self.cloud = GaussianCloud(
            self.xyz, scales, self.rotation, torch.zeros(n), torch.zeros(n, 3), torch.zeros(n, 0, 3)
        )

    def __getitem__(self, name):
        return torch.from_numpy(self.arrays[f"{self.setting}/{name}"])

    @property
    def config(self):
        close, wide = float(self["far2_std"]), float(self["far1_std"])
        return PullConfig(
            close_points=int(self["far2_num"]),
            close_spread=close,
            wide_points=int(self["far1_num"]),
            wide_spread=max(wide, 0.0),
            discs=int(self["near_gs_center"]),
            points_each=int(self["root_num"]),
            height=float(self["T"]),
        )

    @property
    def radius(self):
        low, high = self.arrays["field/range_"]
        assert (low == -high).all()
        return float(high[0])


@pytest.fixture(scope="module")
def arrays(golden):
    return np.load(golden / "gudf_losses.npz")


@pytest.fixture(params=SETTINGS)
def published(arrays, request):
    return Published(arrays, request.param)


def close(found, expected, atol=1e-6, rtol=1e-5):
    torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=rtol)


@pytest.mark.golden
def test_published_draws_give_published_points(arrays, published, monkeypatch):
    draws = Draws(arrays, published.setting)
    cloud, config = within(published.cloud, published.radius), published.config
    assert len(cloud) == int(published["inside_box_mask"].sum())
    draws.replace_torch(monkeypatch)
    points = pulled_points(cloud.means, config, published.radius, torch.Generator())
    close(points[draws.far_order], published["far/far_samples"])
    chosen = drawn_discs(cloud, config.discs, torch.Generator())
    inside = published["inside_box_mask"].nonzero()[:, 0]
    assert torch.equal(inside[chosen][draws.disc_order], published["near/gaussian_index"])
    on_discs, normals = points_on_discs(cloud[chosen], config.points_each, torch.Generator())
    shape = (len(chosen), config.points_each, 3)
    close(on_discs.view(shape)[draws.disc_order], published["near/root_pts_on_disc"])
    close(normals.view(shape)[draws.disc_order, 0], published["near/gs_normals"])
    largest = cloud.scales.detach().amax(-1).mean() * 3
    close(largest, published["scaling_threshold"])


@pytest.mark.golden
def test_published_errors_and_gradients(arrays, published, monkeypatch):
    cloud, config, field = within(published.cloud, published.radius), published.config, published.field
    Draws(arrays, published.setting).replace_torch(monkeypatch)
    points = pulled_points(cloud.means, config, published.radius, torch.Generator())
    far, nearest = far_error(field, points, cloud.means)
    said = field(cloud.means[nearest])
    projection = projection_distance(cloud.means[nearest], said.udf, said.gradient).mean()
    chosen = drawn_discs(cloud, config.discs, torch.Generator())
    near = disc_error(field, cloud[chosen], config, torch.Generator()).mean()
    total = far + float(published["projection_weight"]) * projection + near
    for found, name in ((far, "far"), (projection, "projection"), (near, "near"), (total, "total")):
        close(found, published[f"{name}_loss"], 1e-5, 1e-4)
    total.backward()
    gradients = {"xyz": published.xyz, "scaling": published.scaling, "rotation": published.rotation}
    for name, values in gradients.items():
        close(values.grad, published[f"grad/{name}"], 1e-5, 1e-3)
    for name, parameter in field.network.named_parameters():
        expected = float(published["grad_norm/lin" + name.removeprefix("layers.")])
        assert float(parameter.grad.norm()) == pytest.approx(expected, abs=1e-5, rel=2e-3), name


@pytest.mark.golden
def test_published_points_are_pulled_to_published_places(arrays, published):
    samples, centers = published["far/far_samples"], published["far/surf_points"]
    for at, name in ((samples, "far/samples_moved"), (centers, "projection/surf_points_moved")):
        said = published.field(at)
        close(pulled(at, said.udf, said.gradient), published[name], 1e-5, 1e-3)
    close(published.field.udf(published["near/samples"])[:, None], published["near/udf"], 1e-5, 1e-4)


def discs(n=50):
    generator = torch.Generator().manual_seed(3)
    scales = torch.cat([torch.full((n, 2), 0.1).log(), torch.full((n, 1), THIN)], -1)
    means, quats = torch.randn(n, 3, generator=generator), torch.randn(n, 4, generator=generator)
    return GaussianCloud(means, scales, quats, torch.zeros(n), torch.zeros(n, 3), torch.zeros(n, 0, 3))


def test_points_on_discs_lie_in_their_planes_as_far_out_as_the_scales_say():
    cloud = discs()
    points, normals = points_on_discs(cloud, 200, torch.Generator().manual_seed(0))
    offset = points.view(50, 200, 3) - cloud.means[:, None]
    assert (offset * normals.view(50, 200, 3)).sum(-1).abs().max() < 1e-5
    assert float(offset.norm(dim=-1).square().mean().sqrt()) == pytest.approx(0.1 * 2**0.5, rel=0.05)


def test_large_discs_are_drawn_twice():
    cloud = discs()
    wide = cloud.log_scales.clone()
    wide[0, 0] = 1.0
    cloud = dataclasses.replace(cloud, log_scales=wide)
    chosen = drawn_discs(cloud, 500, torch.Generator().manual_seed(1))
    again = chosen[500:]
    assert len(again) > 0
    assert (again == 0).all()
    assert int((chosen[:500] == 0).sum()) == len(again)


def test_discs_teach_field_and_gaussians_and_pulled_points_the_field_alone():
    cloud = discs()
    cloud = dataclasses.replace(cloud, means=cloud.means.requires_grad_())
    network = SkipMLP(9, 1, width=16, hidden_layers=2, skip_in=(), generator=torch.Generator().manual_seed(0))
    field = UdfField(CompositeEncoding(FrequencyEncoding(1), scale=1.0, offset=0.0), network)
    config = PullConfig(close_points=20, wide_points=10, discs=10)
    points = pulled_points(cloud.means, config, 1.0, torch.Generator().manual_seed(1))
    assert points.shape == (30, 3)
    assert (points[20:].abs() <= 1).all()
    far_error(field, points, cloud.means)[0].backward()
    assert cloud.means.grad is None
    assert network.layers[0].weight_v.grad.abs().sum() > 0
    disc_error(field, cloud, config, torch.Generator().manual_seed(2)).mean().backward()
    assert cloud.means.grad.abs().sum() > 0
