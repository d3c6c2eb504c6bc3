"""The viewer shows the scene where it is, and its live picture is of what the browser looks at."""

import math
import urllib.request
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from rilievo.data.scene import PointCloud, Region, Scene
from rilievo.demo import studio
from rilievo.geometry.mesh import TriMesh
from rilievo.viz.viewer import CLIP_S, LEAST_PX, MOST_PX, Viewer, camera_of


@pytest.fixture
def scene() -> Scene:
    return Scene(
        name="tiny",
        cameras=studio.cameras(5, 20),
        names=tuple("abcde"),
        images=[np.full((20, 20, 3), 50 * i, np.uint8) for i in range(5)],
        coverage=None,
        mask_meaning=None,
        test_views=(2,),
        region=Region(np.zeros(3), 1.0, "given"),
        points=PointCloud(np.random.default_rng(0).normal(size=(30, 3))),
    )


@pytest.fixture
def viewer():
    viewer = Viewer(port=18473)
    yield viewer
    viewer.close()


def test_the_server_answers_on_this_machine_and_holds_what_was_added(viewer, scene):
    viewer.add_scene(scene)
    triangle = TriMesh(np.eye(3), np.array([[0, 1, 2]]), colors=np.full((3, 3), 200, np.uint8))
    viewer.add_mesh(triangle)
    assert viewer.url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(viewer.url, timeout=10) as page:
        assert page.status == 200
    assert set(viewer.nodes) == {*(f"cameras/{i}" for i in range(5)), "points", "mesh"}
    for i in range(5):
        assert np.allclose(viewer.nodes[f"cameras/{i}"].position, scene.cameras.centers[i].numpy())


@dataclass
class Eye:
    wxyz: np.ndarray = field(default_factory=lambda: np.array([1.0, 0, 0, 0]))
    position: np.ndarray = field(default_factory=lambda: np.array([0.0, 0, -3]))
    fov: float = math.radians(60)
    aspect: float = 1.5


def test_the_browsers_field_of_view_spans_its_picture():
    camera = camera_of(Eye(), width=150)
    assert camera.sizes_px.tolist() == [[150, 100]]
    top = torch.tensor([[0.0, -math.tan(math.radians(30)), 0.0]], dtype=torch.float64) * 3
    pixel, depth = camera.project(0, top)
    assert torch.allclose(pixel, torch.tensor([[75.0, 0.0]], dtype=torch.float64), atol=1e-9)
    assert torch.allclose(depth, torch.tensor([3.0], dtype=torch.float64))


def test_a_live_picture_grows_while_the_camera_rests_and_shrinks_when_it_moves(viewer, monkeypatch):
    shown: list[int] = []

    class Background:
        def set_background_image(self, picture, format):
            shown.append(picture.shape[1])

    class Client:
        client_id, camera, scene = 0, Eye(), Background()

    monkeypatch.setattr(viewer.server, "get_clients", lambda: {0: Client})
    monkeypatch.setattr(viewer, "_moving_width", lambda aspect: LEAST_PX)

    def render(cameras, time):
        width, height = cameras.sizes_px[0].tolist()
        return np.zeros((height, width, 3), np.uint8)

    while viewer.draw(render):
        pass
    assert shown[0] == LEAST_PX
    assert shown[-1] == MOST_PX
    assert shown == sorted(shown)
    Client.camera = Eye(position=np.array([1.0, 0, -3]))
    assert viewer.draw(render)
    assert shown[-1] == LEAST_PX


def test_a_clip_plays_round_and_round_until_it_is_stopped(viewer):
    viewer.add_time()
    clock = viewer.clock
    assert clock.read(3.0) == 0
    clock.plays.value = True
    assert [clock.read(3 + CLIP_S * share) for share in (0, 0.75, 1.25)] == pytest.approx([0, 0.75, 0.25])
    clock.plays.value = False
    assert clock.read(3 + CLIP_S * 7.5) == pytest.approx(0.25)


def test_another_time_is_another_picture(viewer, monkeypatch):
    shown: list[float] = []

    class Background:
        def set_background_image(self, picture, format):
            pass

    class Client:
        client_id, camera, scene = 0, Eye(), Background()

    def render(cameras, time):
        shown.append(time)
        width, height = cameras.sizes_px[0].tolist()
        return np.zeros((height, width, 3), np.uint8)

    monkeypatch.setattr(viewer.server, "get_clients", lambda: {0: Client})
    viewer.add_time()
    while viewer.draw(render):
        pass
    viewer.clock.slider.value = 0.5
    assert viewer.draw(render)
    assert (shown[0], shown[-1]) == (0.0, 0.5)
