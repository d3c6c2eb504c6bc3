"""Fused surfaces and exported files of a sphere seen from all sides."""

import numpy as np
import pytest
import torch
import trimesh

from rilievo.alignment.dense import DenseView
from rilievo.alignment.export import write_cloud, write_glb
from rilievo.alignment.tsdf import fuse
from rilievo.data.scene import MaskMeaning
from rilievo.errors import UserError
from rilievo.geometry import so3
from rilievo.io.ply import read_points

SIZE, FOCAL, DISTANCE = 96, 120.0, 3.0


@pytest.fixture(scope="module")
def sphere():
    """Six views of the unit sphere: (views, K, world_from_cam, masks, images)."""
    quarter = torch.pi / 2
    turns = [(0.0, k * quarter, 0.0) for k in range(4)] + [(quarter, 0.0, 0.0), (-quarter, 0.0, 0.0)]
    R = so3.exp(torch.tensor(turns))
    pose = torch.eye(4).repeat(6, 1, 1)
    pose[:, :3, :3], pose[:, :3, 3] = R, -DISTANCE * R[:, :, 2]
    K = torch.tensor([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]]).repeat(6, 1, 1)
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    ray = torch.stack(((x - SIZE / 2) / FOCAL, (y - SIZE / 2) / FOCAL, torch.ones_like(x)), dim=-1)
    a, b = (ray * ray).sum(-1), DISTANCE * ray[..., 2]
    inside = b**2 - a * (DISTANCE**2 - 1)
    mask = inside > 0
    depth = torch.where(mask, (b - inside.clamp_min(0).sqrt()) / a, DISTANCE)
    views = []
    for i in range(6):
        points = (depth[..., None] * ray) @ pose[i, :3, :3].mT + pose[i, :3, 3]
        views.append(DenseView(points, depth, torch.where(mask, 5.0, 0.0)))
    image = torch.tensor([200, 100, 50], dtype=torch.uint8).expand(SIZE, SIZE, 3).contiguous()
    return views, K, pose, [mask] * 6, [image] * 6


@pytest.mark.parametrize("meaning", list(MaskMeaning))
def test_the_sphere_comes_back_round_whole_and_in_its_colour(sphere, meaning):
    views, K, pose, masks, images = sphere
    mesh = fuse(views, K, pose, resolution=48, masks=masks, meaning=meaning, images=images)
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert abs(radii.mean() - 1) < 0.01
    assert radii.std() < 0.02
    assert mesh.area > 0.9 * 4 * np.pi
    assert np.abs(np.median(mesh.colors, axis=0) - [200, 100, 50]).max() <= 2
    outward = (mesh.face_normals * mesh.corners.mean(axis=1)).sum(axis=1)
    assert (outward > 0).mean() > 0.97


def test_empty_background_carves_what_one_mistaken_view_invents(sphere):
    views, K, pose, masks, _ = sphere
    depth, confidence = views[0].depth.clone(), views[0].confidence.clone()
    depth[:6, :6], confidence[:6, :6] = DISTANCE, 5.0  # a patch that floats beside the sphere
    points = views[0].points.clone()
    points[:6, :6] = (points[:6, :6] - pose[0, :3, 3]) * (depth / views[0].depth)[:6, :6, None] + pose[0, :3, 3]
    wrong = [DenseView(points, depth, confidence), *views[1:]]
    carved = fuse(wrong, K, pose, resolution=48, masks=masks, meaning=MaskMeaning.OBJECT)
    assert np.linalg.norm(carved.vertices, axis=1).max() < 1.1


def test_nothing_to_be_sure_of_is_a_clear_error(sphere, tmp_path):
    views, K, pose, _, images = sphere
    with pytest.raises(UserError, match="confidence"):
        fuse(views, K, pose, least_confidence=10.0)
    with pytest.raises(UserError, match="confidence"):
        write_cloud(tmp_path / "points.ply", views, images, least_confidence=10.0)


def test_the_written_cloud_holds_the_confident_points_with_their_colours(sphere, tmp_path):
    views, _, _, masks, images = sphere
    count = write_cloud(tmp_path / "points.ply", views, images)
    cloud = read_points(tmp_path / "points.ply")
    assert count == len(cloud.xyz) == sum(int(mask.sum()) for mask in masks)
    np.testing.assert_allclose(np.linalg.norm(cloud.xyz, axis=1), 1, atol=1e-3)
    assert (cloud.rgb == [200, 100, 50]).all()


def test_the_glb_holds_points_and_a_textured_camera_per_photo_that_looks_at_the_sphere(sphere, tmp_path):
    views, K, pose, _, images = sphere
    write_glb(tmp_path / "scene.glb", views, images, K, pose)
    scene = trimesh.load(tmp_path / "scene.glb")
    photos = [name for name in scene.geometry if name.startswith("photo")]
    assert len(photos) == 6
    assert any(isinstance(part, trimesh.PointCloud) for part in scene.geometry.values())
    node = next(n for n in scene.graph.nodes_geometry if scene.graph[n][1] == "photo 0")
    placed = scene.geometry["photo 0"].copy().apply_transform(scene.graph[node][0])
    centre, camera = placed.vertices.mean(axis=0), pose[0, :3, 3].numpy()
    toward = centre - camera
    np.testing.assert_allclose(toward / np.linalg.norm(toward), pose[0, :3, 2], atol=1e-5)
    assert scene.geometry["photo 0"].visual.material.baseColorTexture.size == (SIZE, SIZE)
