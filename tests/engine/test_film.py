"""Flow and false colours of films, by a wall that is known everywhere and may slide."""

import numpy as np
import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.engine.film import Film, Take, film_flow
from rilievo.engine.method import Rendering
from rilievo.errors import UserError

FOCAL, DISTANCE, SIZE = 50.0, 4.0, (24, 16)


class Wall:
    """All of the plane z = DISTANCE, which slides to the right with a speed; cameras look along z."""

    def __init__(self, speed: float = 0.0) -> None:
        self.speed = speed

    def render(self, cameras, index, time=None):
        width, height = cameras.sizes_px[index].tolist()
        depth = torch.full((height, width), DISTANCE - float(cameras.centers[index, 2]))
        return Rendering(torch.full((height, width, 3), time or 0.0), torch.ones(height, width), depth)

    def displacement(self, cameras, index, from_time, to_time):
        width, height = cameras.sizes_px[index].tolist()
        return torch.tensor([self.speed * (to_time - from_time), 0, 0]).expand(height, width, 3)

    def extract_mesh(self, resolution):
        raise NotImplementedError


def cameras(*places: tuple[float, float, float]) -> Cameras:
    pose = torch.eye(4, dtype=torch.float64).repeat(len(places), 1, 1)
    pose[:, :3, 3] = torch.tensor(places, dtype=torch.float64)
    K = torch.tensor([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras.pinhole(pose, K.repeat(len(places), 1, 1), torch.tensor([SIZE]).repeat(len(places), 1))


def flow(model, take, i):
    return film_flow(model, take, i, model.render(take.cameras, i, take.time(i)))


def everywhere(vector) -> torch.Tensor:
    return torch.tensor(vector, dtype=torch.float32).expand(SIZE[1], SIZE[0], 2)


def test_a_still_wall_runs_against_the_camera():
    take = Take(cameras((0, 0, 0), (0.2, -0.1, 0)))
    torch.testing.assert_close(flow(Wall(), take, 0), everywhere([-FOCAL * 0.2 / DISTANCE, FOCAL * 0.1 / DISTANCE]))


def test_a_wall_that_goes_along_with_the_camera_stays_in_the_picture():
    take = Take(cameras((0, 0, 0), (0.2, 0, 0)), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(flow(Wall(speed=0.4), take, 0), everywhere([0.0, 0.0]), atol=1e-4, rtol=0)


def test_before_a_still_camera_flow_is_the_motion_alone_and_the_last_picture_goes_on():
    take = Take(cameras((0, 0, 0), (0, 0, 0), (0, 0, 0)), torch.tensor([0.0, 0.5, 1.0]))
    for i in range(3):
        torch.testing.assert_close(flow(Wall(speed=0.4), take, i), everywhere([FOCAL * 0.2 / DISTANCE, 0.0]))


def test_without_times_nothing_moves():
    take = Take(cameras((0, 0, 0), (0, 0, 0)))
    assert flow(Wall(speed=0.4), take, 0).abs().max() < 1e-5
    assert next(iter(Film(Wall(), take, ("flow",)))).min() > 250  # white


def test_a_depth_has_one_colour_throughout_a_film():
    take = Take(cameras((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 0)))
    film = [frame[5, 5] for frame in Film(Wall(), take, ("depth",))]
    np.testing.assert_array_equal(film[0], film[3])
    lightness = [int(color.sum()) for color in film[:3]]
    assert lightness == sorted(set(lightness))  # the nearer, the lighter


def test_the_faster_of_two_pictures_has_the_deeper_colour():
    take = Take(cameras((0, 0, 0), (0.05, 0, 0), (0.25, 0, 0)))
    slow, fast, _ = (int(frame[5, 5].max()) - int(frame[5, 5].min()) for frame in Film(Wall(), take, ("flow",)))
    assert slow < fast / 3


def test_what_is_shown_stands_side_by_side():
    one = next(iter(Film(Wall(), Take(cameras((0, 0, 0), (0, 0, 1))), ("color",))))
    both = next(iter(Film(Wall(), Take(cameras((0, 0, 0), (0, 0, 1))), ("color", "depth"))))
    assert one.shape == (16, 24, 3)
    assert both.shape[1] > 2 * 24


def test_flow_of_one_picture_and_normals_of_what_has_none_are_refused():
    with pytest.raises(UserError, match="at least two pictures"):
        Film(Wall(), Take(cameras((0, 0, 0))), ("flow",))
    with pytest.raises(UserError, match="--show normals"):
        next(iter(Film(Wall(), Take(cameras((0, 0, 0))), ("normals",))))
