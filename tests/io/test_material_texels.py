"""Each texel shows the place of the surface that lies on it."""

import numpy as np

from rilievo.io.material_texels import BLEED, covered_texels


def test_texels_of_a_square_are_its_grid():
    vertices = np.array([[0, 0, 5], [4, 0, 5], [4, 4, 5], [0, 4, 5.0]])
    texels = covered_texels(np.array([[0, 1, 2], [0, 2, 3]]), vertices[:, :2] / 4, 4)
    assert len(np.unique(texels.rows * 4 + texels.columns)) == len(texels.rows) == 16
    expected = np.stack([texels.columns + 0.5, 3.5 - texels.rows, np.full(16, 5)], -1)  # row 0 is at the top
    np.testing.assert_allclose(texels.interpolated(vertices), expected)


def test_a_face_without_room_in_the_picture_covers_nothing():
    uv = np.array([[0.1, 0.1], [0.6, 0.6], [0.9, 0.9]])
    assert len(covered_texels(np.array([[0, 1, 2], [0, 0, 1]]), uv, 8).rows) == 0


def test_pictures_go_on_beyond_pieces_and_are_empty_far_away():
    size = 16
    uv = np.array([[0, 0], [0.25, 0], [0.25, 1], [0, 1.0]])  # the left quarter
    texels = covered_texels(np.array([[0, 1, 2], [0, 2, 3]]), uv, size)
    picture = texels.picture(np.full((len(texels.rows), 1), 0.2), (0.5,))
    edge = size // 4 + BLEED
    assert (picture[:, :edge] == 51).all()
    assert (picture[:, edge:] == 128).all()
