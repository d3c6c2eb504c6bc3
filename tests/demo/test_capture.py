"""The demo's capture is a true one: its pictures show the surface that its mesh describes."""

import json

import numpy as np
import torch

from rilievo.demo import amphora, studio
from rilievo.demo.capture import true_surface, write_capture
from rilievo.io.image import read_alpha, read_color


def test_rays_end_on_the_surface_and_never_pass_through_it():
    cameras = studio.cameras(7, 40)
    for i in range(7):
        rays = cameras.view_rays(i)
        t, _ = amphora.look(rays.origins, rays.directions)
        hit = t.isfinite()
        assert 0.1 < hit.float().mean() < 0.9
        assert amphora.sdf(rays.at(t)[hit]).abs().max() < 1e-3
        before = t[hit, None] - torch.linspace(0.02, 0.6, 30)
        between = rays.origins[hit, None] + before[..., None] * rays.directions[hit, None]
        assert amphora.sdf(between.reshape(-1, 3)).min() > -2e-3


def test_the_object_stays_inside_its_ball():
    points = torch.nn.functional.normalize(torch.randn(20000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert amphora.sdf(points * amphora.RADIUS).min() > 0


def test_the_distance_changes_no_faster_than_it_says_outside_the_object():
    generator = torch.Generator().manual_seed(1)
    a = torch.rand(200000, 3, generator=generator) * 2 - 1
    b = a + 0.01 * torch.randn(200000, 3, generator=generator)
    apart = torch.linalg.vector_norm(a - b, dim=-1)
    change = (amphora.sdf(a) - amphora.sdf(b)).abs()
    outside = (amphora.sdf(a) > 0) & (amphora.sdf(b) > 0) & (apart > 1e-3)
    assert (change / apart)[outside].max() < amphora.LIPSCHITZ


def test_the_true_surface_is_closed_and_faces_outward():
    mesh = true_surface(resolution=96)
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()
    corners = mesh.vertices[mesh.faces].astype(float)
    volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.9 < volume < 1.3  # the belly alone holds 0.905


def test_the_same_capture_is_written_every_time(tmp_path):
    for name in ("a", "b"):
        write_capture(tmp_path / name, views=7, size_px=24)
    content = json.loads((tmp_path / "a" / "transforms.json").read_text())
    assert len(content["frames"]) == 7
    assert content["test_filenames"] == ["images/0003.png"]
    for frame in content["frames"]:
        one, other = (tmp_path / name / frame["file_path"] for name in ("a", "b"))
        assert one.read_bytes() == other.read_bytes()
        alpha = read_alpha(one)
        assert 0.1 < (alpha > 127).mean() < 0.9
        assert ((alpha > 0) & (alpha < 255)).any()  # edges are antialiased
        assert read_color(one)[alpha > 127].std(axis=0).min() > 10  # there is a texture to learn
