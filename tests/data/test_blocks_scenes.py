"""The blocks world in the library's nouns."""

import pickle

import cv2
import numpy as np
import pytest
import torch

from videre.data.blocks import blocks_dataset, blocks_schema, render, render_clip, to_clip_scene, to_scene
from videre.structures import Schema

SIZE = (96, 128)


@pytest.fixture(scope="module")
def pair():
    _, truth = render(3, 4, SIZE)
    return truth, to_scene(truth, "a", meshes=True)


def test_schema_survives_json_and_numbers_shapes_and_pixels_alike():
    schema = blocks_schema()
    assert Schema.from_json(schema.to_json()) == schema
    assert schema.things.names == schema.pixels.names[:5]
    assert len(schema.skeleton) == 10 and sorted(schema.skeleton.flip_order) == list(range(10))


def test_scene_holds_what_the_truth_says(pair):
    truth, scene = pair
    things = scene.instances
    assert (things.masks.bitmaps().numpy().astype(bool) == truth.masks).all()
    assert torch.equal(things.masks.boxes(), things.boxes)
    assert (scene.segmentation.numpy() == truth.segmentation).all() and (scene.depth.numpy() == truth.depth).all()
    assert things.captions == truth.region_captions and len(scene.relations) == len(truth.relations)
    assert things.attributes.shape == (len(truth), len(blocks_schema().attributes))
    assert scene.labels.tolist() == sorted(set(truth.labels.tolist()))


def test_3d_boxes_turn_as_the_truth_does_and_corners_are_the_keypoints(pair):
    truth, scene = pair
    assert np.allclose(scene.instances.boxes3d.rotations().numpy(), truth.rotations3d, atol=1e-5)
    corners = scene.camera.project(scene.instances.boxes3d.corners()).numpy()  # (N, 8, 2)
    for ours, theirs in zip(truth.keypoints[:, :8], corners):
        away = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
        assert away.min(1).max() < 0.05 and len(set(away.argmin(1).tolist())) == 8


def test_rays_meet_the_meshes_at_the_depth_of_the_map(pair):
    truth, scene = pair
    rng = np.random.default_rng(0)
    for mesh, mask in zip(scene.instances.meshes, truth.masks):
        inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5))).astype(bool)  # facets cut the outline
        places = np.argwhere(inner if inner.any() else mask)
        gaps = []
        for row, column in places[rng.integers(len(places), size=20)]:
            ray = scene.camera.ray(torch.tensor([column + 0.5, row + 0.5], dtype=torch.float32)).numpy()
            gaps.append(abs(meets(ray, mesh.vertices.numpy()[mesh.faces.numpy()]) - truth.depth[row, column]))
        assert np.median(gaps) < 0.01 and max(gaps) < 0.1


def meets(ray: np.ndarray, triangles: np.ndarray) -> float:
    """The first meeting of a ray from the origin with triangles [F,3,3], by trying all (Moeller and Trumbore)."""
    corner, one, two = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    p, q = np.cross(ray, two), np.cross(-corner, one)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / (one * p).sum(1)
        u, v, t = -(corner * p).sum(1) * scale, (q * ray).sum(1) * scale, (two * q).sum(1) * scale
        inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return float(t[inside].min(initial=np.inf))


def test_mirrored_boxes_agree_with_mirrored_keypoints(pair):
    truth, scene = pair
    mirrored = scene.camera.mirror(SIZE[1]).project(scene.instances.boxes3d.mirror().corners()).numpy()
    flipped = truth.keypoints[:, :8] * [-1, 1] + [SIZE[1], 0]
    for ours, theirs in zip(flipped, mirrored):
        assert np.linalg.norm(ours[:, None] - theirs[None], axis=2).min(1).max() < 0.05


def test_dataset_renders_on_demand_and_says_what_it_carries():
    data = blocks_dataset(5, seed=2, size=(64, 64))
    picture, scene = data[3]
    again, truth = render(2, 3, (64, 64))
    assert (picture == again).all() and (scene.depth.numpy() == truth.depth).all()
    assert all(scene.has(name) for name in data.fields) and not scene.has("meshes")
    alone = data.scene(3)
    assert torch.equal(alone.instances.boxes, scene.instances.boxes) and alone.captions == scene.captions
    assert len(data) == 5 and len({data.name(i) for i in range(5)}) == 5 and data.size(0) == (64, 64)
    copy = pickle.loads(pickle.dumps(data))
    assert (copy.picture(3) == picture).all()
    assert blocks_dataset(1, size=(64, 64), meshes=True)[0][1].has("meshes")


def test_clip_scene_refers_to_its_solids():
    clip = render_clip(0, 1, (48, 64), seconds=3)
    whole, frames = to_clip_scene(clip)
    assert len(frames) == len(clip.frames) and whole.duration == 3.0
    assert len(whole.events) == len(clip.events) > 0
    for frame in frames:
        tracks = frame.instances.ids
        assert torch.equal(whole.instances.labels[tracks], frame.instances.labels)
    for event in whole.events:
        assert blocks_schema().events[event.label] and 0 <= event.start < event.end <= 3
