"""Camera, Box3D, Mesh: the geometry by hand, and under the mirror."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videre.errors import DataError, ShapeError
from videre.structures import Affine, Box3D, Camera, Mesh

ANGLE = st.floats(-3.2, 3.2)


def rotation(yaw, pitch, roll):
    turn = lambda c, s, a, b: np.array(
        [
            [
                c if i == j and i in (a, b) else -s if (i, j) == (a, b) else s if (i, j) == (b, a) else float(i == j)
                for j in range(3)
            ]
            for i in range(3)
        ]
    )
    y, x, z = ((math.cos(t), math.sin(t)) for t in (yaw, pitch, roll))
    return turn(*y, 2, 0) @ turn(*x, 1, 2) @ turn(*z, 0, 1)


@st.composite
def cameras(draw):
    focal, skew, cx, cy = (draw(st.floats(*r)) for r in ((50, 500), (-5, 5), (0, 100), (0, 100)))
    shift = [draw(st.floats(-2, 2)) for _ in range(3)]
    turned = rotation(draw(ANGLE), draw(ANGLE), draw(ANGLE))
    return Camera([[focal, skew, cx], [0, focal * 1.1, cy], [0, 0, 1]], torch.tensor(turned), shift)


POINTS = torch.tensor([[0.3, -0.2, 2.0], [-1.0, 0.5, 4.0], [0.0, 0.0, 1.0]])


@given(cameras())
def test_project_undoes_ray(camera):
    pixels = camera.project(POINTS)
    rays = camera.ray(pixels)
    torch.testing.assert_close(rays, POINTS / POINTS[:, 2:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(camera.project(rays * 3.5), pixels, atol=1e-2, rtol=1e-4)


def test_a_projection_by_hand():
    camera = Camera([[100.0, 0, 32], [0, 200, 24], [0, 0, 1]], translation=[0.0, 0, 1])
    assert camera.project(camera.to_camera(torch.tensor([[0.5, -0.25, 1.0]]))).tolist() == [[57, -1]]
    assert camera.project(torch.tensor([[1.0, 1, 0], [0, 0, -1]])).isnan().all()
    corners = camera.frustum(torch.tensor([32.0, 24, 132, 224]), 1, 2)
    torch.testing.assert_close(corners[:4], torch.tensor([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]))
    assert torch.equal(corners[4:], corners[:4] * 2)


@given(cameras())
def test_mirrored_points_fall_on_mirrored_pixels(camera):
    width, flip = 120.0, torch.tensor([-1.0, 1.0, 1.0])
    pixels, mirrored = camera.project(POINTS), camera.mirror(width)
    expected = torch.stack([width - pixels[:, 0], pixels[:, 1]], dim=1)
    torch.testing.assert_close(mirrored.project(POINTS * flip), expected, atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(mirrored.to_camera(POINTS * flip), camera.to_camera(POINTS) * flip)
    torch.testing.assert_close(mirrored.mirror(width).intrinsics, camera.intrinsics)
    assert torch.linalg.det(mirrored.rotation) > 0  # still a rotation


@given(cameras(), st.floats(0.2, 3), st.floats(0.2, 3), st.floats(-9, 9))
def test_the_camera_of_a_warped_picture(camera, sx, sy, shift):
    warped = camera.moved(Affine(np.array([[sx, 0, shift], [0, sy, -shift]]), (10, 10), (10, 10)))
    expected = camera.project(POINTS) * torch.tensor([sx, sy]) + torch.tensor([shift, -shift])
    torch.testing.assert_close(warped.project(POINTS), expected, atol=1e-2, rtol=1e-4)


# boxes ----------------------------------------------------------------------------------------------------------------


def test_corners_by_hand():
    """A box 4 long (its x), 2 high, 1 wide at z = 10; a quarter turn about y takes its x to -z (KITTI's rotation_y)."""
    box = Box3D([[0.0, 1, 10]], [[4.0, 2, 1]], [0.0])
    assert box.corners()[0, 0].tolist() == [-2, 0, 9.5] and box.corners()[0, 7].tolist() == [2, 2, 10.5]
    turned = Box3D(box.centers, box.sizes, [math.pi / 2])
    torch.testing.assert_close(turned.corners()[0, 1] - turned.corners()[0, 0], torch.tensor([0.0, 0, -4]))
    torch.testing.assert_close(turned.corners()[0, 4] - turned.corners()[0, 0], torch.tensor([1.0, 0, 0]))


@given(ANGLE, ANGLE, ANGLE)
def test_corners_are_the_turned_unit_cube(yaw, pitch, roll):
    box = Box3D([[1.0, 2, 8]], [[3.0, 1, 2]], [yaw], [pitch], [roll])
    signs = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)])
    expected = signs * [1.5, 0.5, 1] @ rotation(yaw, pitch, roll).T + [1, 2, 8]
    np.testing.assert_allclose(box.corners()[0].numpy(), expected, atol=1e-5)


@given(ANGLE, ANGLE, ANGLE)
def test_the_mirrored_box_has_the_mirrored_corners(yaw, pitch, roll):
    box = Box3D([[1.0, 2, 8]], [[3.0, 1, 2]], [yaw], [pitch], [roll])
    expected = box.corners()[0] * torch.tensor([-1.0, 1, 1])
    distance = torch.cdist(box.mirror().corners()[0], expected)
    assert distance.min(0).values.max() < 1e-4 and distance.min(1).values.max() < 1e-4
    torch.testing.assert_close(box.mirror().mirror().corners(), box.corners(), atol=1e-5, rtol=1e-5)


def test_boxes_are_selected_and_joined():
    boxes = Box3D(torch.arange(6.0).reshape(2, 3), torch.ones(2, 3), [0.1, 0.2])
    whole = Box3D.cat([boxes, boxes.select(torch.tensor([1]))])
    torch.testing.assert_close(whole.yaw, torch.tensor([0.1, 0.2, 0.2]))
    assert (
        len(whole) == 3 and torch.equal(whole.pitch, torch.zeros(3)) and len(boxes.select(torch.tensor([]).long())) == 0
    )


# meshes ---------------------------------------------------------------------------------------------------------------

TETRAHEDRON = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.5]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def normals(mesh):
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return torch.linalg.cross(b - a, c - a)


def volume(mesh):
    """Positive where the normals look outwards (divergence theorem)."""
    return float((mesh.vertices[mesh.faces].mean(1) * normals(mesh)).sum() / 6)


@pytest.mark.parametrize("suffix", ["obj", "ply"])
def test_a_mesh_survives_a_file(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    TETRAHEDRON.save(path)
    again = Mesh.load(path)
    torch.testing.assert_close(again.vertices, TETRAHEDRON.vertices)
    assert torch.equal(again.faces, TETRAHEDRON.faces)


def test_a_mirrored_mesh_still_looks_outwards():
    mirrored = TETRAHEDRON.mirror()
    assert volume(TETRAHEDRON) == pytest.approx(0.25) and volume(mirrored) == pytest.approx(0.25)
    torch.testing.assert_close(normals(mirrored), normals(TETRAHEDRON) * torch.tensor([-1.0, 1, 1]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Camera(torch.eye(2)), r"intrinsics must be finite with shape \(3, 3\), found \(2, 2\)"),
        (lambda: Camera(torch.eye(3), translation=[0, float("nan"), 0]), "translation must be finite"),
        (lambda: Box3D([[0, 0, 0]], [[1, 1, 1]], [0, 1]), r"yaw must be finite with shape \(1,\), found \(2,\)"),
        (lambda: Box3D([[0, 0, 0]], [[1, -1, 1]], [0]), "sizes must not be negative"),
        (lambda: Mesh(torch.zeros(3, 2), [[0, 1, 2]]), r"vertices \[V, 3\], faces \[F, 3\]; found \(3, 2\)"),
        (lambda: Mesh(torch.zeros(3, 3), [[0, 1, 3]]), r"faces name vertices 0..3 of 3"),
        (lambda: Mesh(torch.full((3, 3), torch.inf), [[0, 1, 2]]), "vertices must be finite"),
    ],
)
def test_bad_geometry_is_named(make, says):
    with pytest.raises(ShapeError, match=says):
        make()


def test_a_file_that_is_no_mesh(tmp_path):
    (tmp_path / "m.ply").write_text("nothing")
    with pytest.raises(DataError, match=r"m\.ply: no mesh could be read"):
        Mesh.load(tmp_path / "m.ply")
