"""A capture and a run in the browser: cameras as frusta with their photographs, points, mesh, and a live rendering.

Everything is shown in the scene's own world. The server listens on this machine only. A live picture is drawn small
while the camera moves or time passes, so that it follows, and larger once both rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import trimesh
import viser
from jaxtyping import Float64, UInt8

from rilievo.cameras.camera import Cameras
from rilievo.cameras.orientation import up_direction
from rilievo.data.scene import Scene
from rilievo.geometry import so3
from rilievo.geometry.mesh import TriMesh

HOST = "127.0.0.1"
THUMBNAIL_PX = 96
THUMBNAILS = 120
"""Frusta beyond this number have no photograph, to keep opening a capture quick."""
MOVING_S = 0.15
"""How long a picture may take while the camera moves."""
LEAST_PX, MOST_PX = 48, 640
"""Width of live pictures."""
CLIP_S = 5.0
"""How long a clip plays."""


Renders = Callable[[Cameras, float | None], np.ndarray]
"""What one camera sees at a time (None where nothing moves), as uint8 [h, w, 3]."""


@runtime_checkable
class Eye(Protocol):
    """A browser's camera, as viser has it: axes as ours, vertical field of view in radians."""

    @property
    def wxyz(self) -> np.ndarray: ...
    @property
    def position(self) -> np.ndarray: ...
    @property
    def fov(self) -> float: ...
    @property
    def aspect(self) -> float: ...


@dataclass
class _Drawn:
    """What a browser shows: from where and when, and how wide."""

    eye: tuple[float, ...]
    time: float | None
    width: int


class Clock:
    """What time it is: where the slider stands, which moves on while the clip plays, round and round."""

    def __init__(self, slider: viser.GuiInputHandle[float], plays: viser.GuiInputHandle[bool]) -> None:
        self.slider, self.plays = slider, plays
        self.last_read_s: float | None = None

    def read(self, now_s: float) -> float:
        """The time in [0, 1], `now_s` being what any steady clock says."""
        if self.plays.value and self.last_read_s is not None:
            self.slider.value = (self.slider.value + (now_s - self.last_read_s) / CLIP_S) % 1.0  # type: ignore[misc]  # viser defines the setter apart from the getter
        self.last_read_s = now_s if self.plays.value else None
        return float(self.slider.value)


class Viewer:
    """A server at `url` that shows what is added to it."""

    def __init__(self, port: int = 8080) -> None:
        self.server = viser.ViserServer(host=HOST, port=port, label="rilievo", verbose=False)
        self.nodes: dict[str, viser.SceneNodeHandle] = {}
        self._drawn: dict[int, _Drawn] = {}
        self._seconds_per_pixel = 1e-5
        self.clock: Clock | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server.get_port()}"

    def close(self) -> None:
        self.server.stop()

    def add_scene(self, scene: Scene) -> None:
        """Show every camera with its photograph, and the points that came with the capture."""
        self.server.scene.set_up_direction(up_direction(scene.cameras).numpy())
        step = math.ceil(len(scene) / THUMBNAILS)
        for i in range(len(scene)):
            photo = _thumbnail(np.rint(scene.photograph(i) * 255).astype(np.uint8)) if i % step == 0 else None
            self._add_frustum(scene, i, photo)
        if scene.points is not None:
            colors = scene.points.rgb if scene.points.rgb is not None else np.array([120, 120, 120], np.uint8)
            self.nodes["points"] = self.server.scene.add_point_cloud(
                "/points", scene.points.xyz.astype(np.float32), colors, point_size=0.005 * scene.region.radius
            )

    def add_mesh(self, mesh: TriMesh) -> None:
        """Show a mesh with its colours."""
        shown = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=mesh.colors, process=False)
        self.nodes["mesh"] = self.server.scene.add_mesh_trimesh("/mesh", shown)

    def add_time(self) -> None:
        """A slider over the time of a clip, and a box that lets it play."""
        slider = self.server.gui.add_slider("time", min=0.0, max=1.0, step=0.001, initial_value=0.0)
        self.clock = Clock(slider, self.server.gui.add_checkbox("play", initial_value=False))

    def draw(self, render: Renders) -> bool:
        """Bring the live picture of each browser up to date; False when there was nothing to do."""
        worked = False
        when = None if self.clock is None else self.clock.read(time.perf_counter())
        for client in self.server.get_clients().values():
            eye, drawn = client.camera, self._drawn.get(client.client_id)
            place = (*np.asarray(eye.wxyz).tolist(), *np.asarray(eye.position).tolist(), eye.fov, eye.aspect)
            moved = drawn is None or (drawn.eye, drawn.time) != (place, when)
            if not moved and drawn is not None and drawn.width >= MOST_PX:
                continue
            width = self._moving_width(eye.aspect) if moved or drawn is None else min(2 * drawn.width, MOST_PX)
            began = time.perf_counter()
            picture = render(camera_of(eye, width), when)
            self._seconds_per_pixel = (time.perf_counter() - began) / (picture.shape[0] * picture.shape[1])
            client.scene.set_background_image(picture, format="jpeg")
            self._drawn[client.client_id] = _Drawn(place, when, width)
            worked = True
        return worked

    def _moving_width(self, aspect: float) -> int:
        pixels = MOVING_S / self._seconds_per_pixel
        return int(min(max(math.sqrt(pixels * aspect), LEAST_PX), MOST_PX))

    def _add_frustum(self, scene: Scene, i: int, photo: UInt8[np.ndarray, "h w 3"] | None) -> None:
        camera = scene.cameras[i]
        width, height = camera.sizes_px[0].tolist()
        held_out = i in scene.test_views
        self.nodes[f"cameras/{i}"] = self.server.scene.add_camera_frustum(
            f"/cameras/{i:04d}",
            fov=2 * math.atan2(height / 2, camera.K[0, 1, 1].item()),
            aspect=width / height,
            scale=0.15 * scene.region.radius,
            color=(200, 120, 40) if held_out else (40, 40, 40),
            image=photo,
            format="jpeg",
            wxyz=so3.quaternion_from_matrix(camera.world_from_cam[0, :3, :3]).numpy(),
            position=camera.centers[0].numpy(),
        )


def camera_of(eye: Eye, width: int) -> Cameras:
    """The pinhole camera behind a browser's view, with pictures of that width."""
    height = max(1, round(width / eye.aspect))
    focal = height / 2 / math.tan(eye.fov / 2)
    pose: Float64[np.ndarray, "4 4"] = np.eye(4)
    pose[:3, :3] = so3.matrix_from_quaternion(torch.from_numpy(np.asarray(eye.wxyz, np.float64))).numpy()
    pose[:3, 3] = eye.position
    K = torch.tensor([[[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]], dtype=torch.float64)
    return Cameras.pinhole(torch.from_numpy(pose)[None], K, torch.tensor([[width, height]]))


def _thumbnail(photo: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_h _w 3"]:
    step = math.ceil(max(photo.shape[:2]) / THUMBNAIL_PX)
    return np.ascontiguousarray(photo[::step, ::step])
