"""A patch that slides before a wall, seen by a camera that slides too: eight frames, and what is true of them."""

import json

import numpy as np
import torch

from rilievo.cameras.camera import Cameras
from rilievo.io.image import write_image

FRAMES, WIDTH, HEIGHT, FOCAL = 8, 80, 60, 75.0
WALL, SLANT, PATCH, HALF = 3.8, 0.7, 2.6, 0.45
"""The wall is at z = WALL + SLANT x, the patch at z = PATCH; HALF is half its side."""
K = [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]


def texture(x, y, phase):
    """Smooth colours of several wavelengths, from 6 px of a frame on."""
    waves = [np.sin(a * x + b * y + phase + k) for k, (a, b) in enumerate([(7, 2), (-3, 9), (11, -8), (2, 3)])]
    return np.stack([0.5 + 0.14 * (waves[c] + waves[(c + 1) % 4] + waves[3]) for c in range(3)], axis=-1).clip(0, 1)


def eye(i):
    return np.array([-0.3 + 0.6 * i / 7, 0.05 * (i % 3), 0.0])


def patch_center(time):
    return np.array([-0.5 + 1.0 * time, 0.25 * np.sin(3 * time)])


def camera(distortion=()):
    """At the origin, looking along z."""
    bent = torch.zeros(1, 8, dtype=torch.float64)
    bent[0, : len(distortion)] = torch.tensor(distortion, dtype=torch.float64)
    pose, size = torch.eye(4, dtype=torch.float64)[None], torch.tensor([[WIDTH, HEIGHT]])
    return Cameras(pose, torch.tensor([K], dtype=torch.float64), size, bent, torch.zeros(1, dtype=torch.bool))


def photograph(place, time, seen_by=None):
    """Colour, depth and what moves, for a camera at `place` that looks along z."""
    directions = (seen_by or camera()).view_rays(0, torch.float64).directions.numpy().reshape(HEIGHT, WIDTH, 3)
    rays = directions[..., :2] / directions[..., 2:]
    near, far = PATCH - place[2], (WALL + SLANT * place[0] - place[2]) / (1 - SLANT * rays[..., :1])
    on_patch = place[:2] + rays * near - patch_center(time)
    hit = (np.abs(on_patch) < HALF).all(-1)
    on_wall = place[:2] + rays * far
    patch, wall = texture(*np.moveaxis(1.6 * on_patch, -1, 0), 2.0), texture(*np.moveaxis(on_wall, -1, 0), 0.0)
    rgb = np.where(hit[..., None], patch, wall)
    return np.rint(rgb * 255).astype(np.uint8), np.where(hit, near, far[..., 0]), hit


def write_clip(folder, *, masks, distortion=()):
    """Eight frames, distorted depth, and two views held out."""
    (folder / "depth_mono").mkdir(parents=True)
    listed = {"cameras": [], "cameras_test": []}
    views = [("cameras", i, eye(i)) for i in range(FRAMES)]
    views += [("cameras_test", i, np.array([0.1, -0.25, 0.1])) for i in (2, 5)]
    for split, i, place in views:
        name = f"{'test_' if split == 'cameras_test' else ''}images/{i:03d}.png"
        rgb, depth, hit = photograph(place, i / (FRAMES - 1), camera(distortion))
        write_image(folder / name, rgb)
        pose = np.eye(4)
        pose[:3, 3] = place
        frame = {"image": name, "frame": i, "K": K, "camera_to_world": pose.tolist()}
        if distortion:
            frame["distortion"] = [*distortion, *[0.0] * (8 - len(distortion))]
        if masks:
            frame["mask"] = name.replace("images", "masks")
            write_image(folder / frame["mask"], np.repeat(np.uint8(128) * hit[..., None], 3, axis=-1))
        listed[split].append(frame)
        if split == "cameras":
            mono = (0.3 + 0.02 * i) * depth ** (1 + 0.05 * i) + 0.1
            np.savez(folder / "depth_mono" / f"{i:03d}.npz", depth=mono.astype(np.float16))
    for name, frames in listed.items():
        (folder / f"{name}.json").write_text(json.dumps({"width": WIDTH, "height": HEIGHT, "frames": frames}))


def write_flows(folder):
    """Flow files of a clip in which everything goes one pixel to the right and down in each frame."""
    for name, step in (("flow_fwd", 1.0), ("flow_bwd", -1.0)):
        (folder / name).mkdir()
        for i in range(FRAMES):
            np.savez(folder / name / f"{i:03d}.npz", flow=np.full((HEIGHT, WIDTH, 2), step, np.float16))


def true_depths(scene):
    """Of the frames, in the scene's world."""
    depths = [photograph(eye(i), i / 7)[1] for i in range(FRAMES)]
    return torch.tensor(np.stack(depths)).float() / float(scene.capture_from_world[:3, :3].norm() / 3**0.5)
