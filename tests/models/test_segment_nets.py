"""The nets of the segmenters: published sizes, geometry, and the same answer by two ways."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scenes import CONFIGS, PREPROCESS, SCHEMA, batch_of, picture_and_truth
from torch import nn

from videre.data.semantic import paint_planes
from videre.errors import ConfigError
from videre.images.prepare import prepare
from videre.layers.maps import stack_padded
from videre.layers.upsample import bilinear_kernel
from videre.models import find_model
from videre.models.pose.hourglass import HourglassPose, read_peaks
from videre.models.segment import deconvnet
from videre.models.segment.deconvnet import SIDE, windows
from videre.models.segment.fcn import FCN, OFFSETS, SKIP_OFFSETS
from videre.models.segment.flat import FlatFCN
from videre.models.segment.multiscale import normalised, pyramid, vote
from videre.models.segment.sliding_window import WINDOW, SlidingWindow
from videre.models.segment.unet import UNet, frame, mirrored
from videre.predict import Predictor
from videre.structures import Categories, Instances, Preprocess, Scene, Schema

SEGMENTERS = [name for name in CONFIGS if "segmentation" in find_model(name).gives]


def schema(classes: int) -> Schema:
    return Schema(pixels=Categories.of([f"class {k}" for k in range(classes)]))


def grey() -> Preprocess:
    return Preprocess(channels="grey", mean=(0.0,), std=(1.0,))


@pytest.mark.parametrize(
    ("name", "classes", "config", "expected"),
    [
        # shelhamer/fcn.berkeleyvision.org: with the transposed convolutions
        ("fcn", 21, {"finest": 32, "border": "caffe"}, 134_346_581 + 1_806_336),
        ("fcn", 21, {"finest": 16, "border": "caffe"}, 134_357_354 + 458_640),
        ("fcn", 21, {"finest": 8, "border": "caffe"}, 134_362_751 + 127_008),
        ("unet", 2, {"norm": "none", "padding": "valid", "channels": 1}, 31_030_658),
        ("unet", 2, {"norm": "batch"}, 31_037_698),
        ("segnet", 11, {}, 29_449_355),
        ("deconvnet", 21, {}, 251_805_653),
        # torchvision's, with and without the auxiliary head
        ("dilated-fcn", 21, {"norm": "batch"}, 35_322_218),
        ("dilated-fcn", 21, {"norm": "batch", "auxiliary": False}, 32_957_013),
        ("dilated-fcn", 21, {"norm": "batch", "backbone": "resnet101"}, 54_314_346),
        ("deeplabv3", 21, {"norm": "batch"}, 42_004_074),
        ("deeplabv3", 21, {"norm": "batch", "auxiliary": False}, 39_638_869),
        # princeton-vl/pytorch_stacked_hourglass, without the skip convolutions that it makes and does not use
        ("hourglass", 16, {"stacks": 1}, 3_426_448),
        ("hourglass", 16, {"stacks": 2}, 6_570_400),
        ("hourglass", 16, {"stacks": 8}, 25_434_112),
    ],
)
def test_parameters_are_the_published_ones(name: str, classes: int, config: dict, expected: int) -> None:
    config = dict(config)
    preprocess = grey() if config.pop("channels", 3) == 1 else None
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        for place in ("kaiming_normal_", "normal_", "zeros_"):
            patch.setattr(nn.init, place, lambda tensor, *args, **kwargs: tensor)
        model = find_model(name)(schema(classes), preprocess, **config)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_logits_are_as_large_as_the_picture(name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(deconvnet, "GRIDS", (1, 2))  # of 14 windows a picture, each a run of the net, 5 show as much
    kind = find_model(name)
    model = kind(SCHEMA, kind.usual, **CONFIGS[name]).eval()
    picture = picture_and_truth((64, 96), 1)[0][: size[0], : size[1]]
    batch = prepare(picture, model.preprocess)
    with torch.inference_mode():
        outputs = model(batch)
        assert outputs["logits"].shape[1:] == (3, *batch.image.shape[2:])
        (scene,) = model.postprocess(outputs, batch)
    assert scene.segmentation.shape == size and scene.segmentation.max() < 3


@pytest.mark.parametrize("name", SEGMENTERS)
def test_pictures_that_are_void_all_over_cost_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = find_model(name)(SCHEMA, Preprocess(short_side=64, long_side=96), **CONFIGS[name]).train()
    picture, truth = picture_and_truth((64, 64), 1)
    void = truth.replace(segmentation=torch.full_like(truth.segmentation, 255))
    batch, truths = batch_of(model, [(picture, void), (picture, void)])
    losses = model.losses(batch, truths)
    assert all(value.item() == 0 for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


# sliding window ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(9, 14), (5, 1)])
def test_all_patches_at_once_give_what_each_gives(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = SlidingWindow(SCHEMA, width=4, hidden=16).eval().double()
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(model.dense(image), model.by_patches(image), atol=1e-10, rtol=1e-10)


def test_a_pixel_sees_its_patch_and_nothing_else() -> None:
    torch.manual_seed(0)
    model = SlidingWindow(SCHEMA, width=4, hidden=16).eval().double()
    image = torch.randn(1, 3, 60, 60, dtype=torch.float64, requires_grad=True)
    model.dense(image)[0, :, 30, 30].sum().backward()
    seen = image.grad.abs().sum((0, 1)).nonzero()
    assert seen.min(0).values.tolist() == [30 - WINDOW // 2] * 2
    assert (seen.max(0).values <= 30 + WINDOW - 1 - WINDOW // 2).all()


# FCN --------------------------------------------------------------------------------------------------------------------


def test_crops_of_the_release_fit_every_picture() -> None:
    pool = lambda n: -(-n // 2)
    for n in range(1, 1200):
        sides = [n + 198]
        for _ in range(5):
            sides.append(pool(sides[-1]))
        coarse = sides[5] - 6
        up = lambda side, factor: (side + 1) * factor
        assert up(coarse, 32) >= OFFSETS[32] + n
        finer = up(coarse, 2)
        assert sides[4] >= SKIP_OFFSETS[16] + finer and up(finer, 16) >= OFFSETS[16] + n
        finest = up(finer, 2)
        assert sides[3] >= SKIP_OFFSETS[8] + finest and up(finest, 8) >= OFFSETS[8] + n


@pytest.mark.parametrize("finest", [32, 16, 8])
def test_geometry_of_the_release(finest: int) -> None:
    """Written out once more, layer by layer, with the picture padded by 100."""
    torch.manual_seed(0)
    model = FCN(SCHEMA, backbone="vgg11", multiplier=0.125, hidden=16, finest=finest, border="caffe").eval()
    for layer in model.scores.values():
        nn.init.normal_(layer.weight)
    image = torch.randn(1, 3, 37, 50)
    with torch.inference_mode():
        x, pools, first = image, [], True
        for layer in model.backbone.features:
            if isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight, layer.bias, padding=100 if first else 1)
                first = False
            elif isinstance(layer, nn.MaxPool2d):
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
                pools.append(x)
            else:
                x = layer(x)
        scores = model.scores["32"](model.hidden(pools[4]))
        for stride, pool in ((16, pools[3]), (8, pools[2])):
            if stride >= finest:
                up = F.conv_transpose2d(scores, model.doubled[str(stride)].weight, stride=2)
                offset = SKIP_OFFSETS[stride]
                here = model.scores[str(stride)](pool)
                scores = up + here[:, :, offset : offset + up.shape[2], offset : offset + up.shape[3]]
        full = F.conv_transpose2d(scores, model.upscore.weight, stride=finest)
        offset = OFFSETS[finest]
        torch.testing.assert_close(model.heads(image)["logits"], full[:, :, offset : offset + 37, offset : offset + 50])


def test_bilinear_kernels_are_the_release_s() -> None:
    """surgery.py: (1 - |i - c| / f) (1 - |j - c| / f)."""
    for size in (3, 4, 16, 64):
        factor = (size + 1) // 2
        centre = factor - 1 if size % 2 == 1 else factor - 0.5
        expected = [
            [(1 - abs(i - centre) / factor) * (1 - abs(j - centre) / factor) for j in range(size)] for i in range(size)
        ]
        torch.testing.assert_close(bilinear_kernel(size), torch.tensor(expected))


def test_the_fully_connected_layers_of_a_vgg_become_convolutions() -> None:
    torch.manual_seed(0)
    from videre.backbones import make_backbone

    classifier = make_backbone("vgg11", vector=True, multiplier=0.125).eval()
    model = FCN(SCHEMA, backbone="vgg11", multiplier=0.125, border="caffe").eval()
    names = {ours: theirs for theirs, ours in classifier.TOP.items()}
    tensors = {}
    for name, value in classifier.state_dict().items():
        layer, _, tensor = name.rpartition(".")
        tensors[f"{names[layer.removeprefix('top.')]}.{tensor}" if layer.startswith("top.") else name] = value
    assert model.start_from({**tensors, "classifier.6.bias": torch.zeros(1)}) == ["classifier.6.bias"]
    image = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        maps = model.backbone(image)
        torch.testing.assert_close(model.hidden(maps[32]).flatten(1), classifier(image)[0], atol=1e-4, rtol=1e-4)


# U-Net ------------------------------------------------------------------------------------------------------------------


def test_the_paper_s_sizes() -> None:
    assert frame(388) == (92, 572 - 388 - 92) and frame(4) == (92, 188 - 4 - 92)
    assert sum(frame(389)) + 389 == 588  # the next size that the net takes
    assert mirrored(4, 3, 5).tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2] and mirrored(1, 2, 1).tolist() == [0] * 4


def test_without_padding_the_border_is_no_edge() -> None:
    """A constant picture gives one answer everywhere, which zero padding would spoil."""
    torch.manual_seed(0)
    logits = {
        padding: UNet(SCHEMA, width=4, norm="none", padding=padding).eval().heads(torch.ones(1, 3, 40, 52))["logits"]
        for padding in ("valid", "half")
    }
    spread = {padding: float(x.std((2, 3)).max()) for padding, x in logits.items()}
    # the transposed convolution's 2x2 cells differ from each other, nothing else does
    cells = logits["valid"].detach()
    torch.testing.assert_close(cells[:, :, 16:], cells[:, :, :-16], atol=1e-4, rtol=1e-4)
    assert spread["half"] > 0


# DeconvNet --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (30, 47), (480, 640)])
def test_windows_cover_the_picture(size: tuple[int, int]) -> None:
    seen = torch.zeros(size)
    for x1, y1, x2, y2 in windows(size, None):
        assert 0 <= x1 < x2 <= size[1] and 0 <= y1 < y2 <= size[0]
        seen[y1:y2, x1:x2] += 1
    assert seen.min() >= 1


def test_proposals_with_a_short_side_are_left_out() -> None:
    proposals = torch.tensor([[0.0, 0, 200, 300], [10, 10, 50, 300], [-5, 0, 1000, 1000]])
    assert windows((480, 640), proposals) == [(0, 0, 640, 480), (0, 0, 200, 300), (0, 0, 640, 480)] and SIDE == 224


# multi-scale ------------------------------------------------------------------------------------------------------------


def test_bands_add_up_to_the_picture() -> None:
    image = torch.rand(1, 3, 33, 46)
    bands = pyramid(image)
    whole = bands[-1]
    for band in bands[-2::-1]:
        whole = band + F.interpolate(whole, band.shape[2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(whole, image)
    assert [tuple(b.shape[2:]) for b in bands] == [(33, 46), (17, 23), (9, 12)]
    flat = normalised(torch.randn(1, 1, 64, 64) * 7 + 3)
    assert abs(float(flat.mean())) < 0.1 and 0.8 < float(flat.std()) < 1.2


def test_a_superpixel_takes_its_mean() -> None:
    picture = torch.zeros(40, 40, 3)
    picture[:, 20:] = 1
    probabilities = torch.rand(2, 40, 40)
    voted = vote(probabilities, picture.numpy())
    left, right = voted[:, :, :17].flatten(1), voted[:, :, 23:].flatten(1)
    torch.testing.assert_close(left, left[:, :1].expand_as(left))
    torch.testing.assert_close(right, right[:, :1].expand_as(right))
    torch.testing.assert_close(voted.mean((1, 2)), probabilities.mean((1, 2)))


# pose -------------------------------------------------------------------------------------------------------------------


def test_peaks_are_read_with_their_quarter() -> None:
    maps = torch.zeros(3, 5, 6)
    maps[0, 2, 3], maps[0, 2, 4], maps[0, 1, 3] = 1.0, 0.5, 0.2
    maps[1, 0, 0] = 0.7  # at the edge no neighbour is known on one side
    points, scores = read_peaks(maps)
    assert points[0].tolist() == [3.75, 2.25] and points[1].tolist() == [0.5, 0.5]
    assert scores.tolist() == pytest.approx([1.0, 0.7, 0.0])


def test_heat_maps_lead_back_to_the_joints() -> None:
    model = HourglassPose(SCHEMA, width=32, stacks=1)
    picture, truth = picture_and_truth((60, 80), 3, things=1)
    batch, ((maps, labelled),) = batch_of(model, [(picture, truth)])
    assert labelled.all() and float(maps.max()) == 1
    (scene,) = model.postprocess({"maps": maps[None]}, batch)
    scale = 256 / 80
    off = (scene.instances.keypoints - truth.instances.keypoints).abs()
    assert off.max() <= 4 / scale  # within a cell


def test_of_several_persons_the_largest_is_learned_and_unlabelled_joints_are_not() -> None:
    model = HourglassPose(SCHEMA, width=32, stacks=1)
    points = torch.stack([torch.full((17, 2), 9.0), torch.full((17, 2), 33.0)])
    seen = torch.full((2, 17), 2, dtype=torch.uint8)
    seen[1, 4] = 0
    people = Instances(
        boxes=torch.tensor([[0.0, 0, 10, 10], [0, 0, 40, 40]]),
        labels=torch.tensor([0, 0]),
        keypoints=points,
        visibility=seen,
    )
    maps, labelled = model.target(Scene((64, 64), people))
    assert maps[0].argmax() == 8 * 16 + 8 and labelled.tolist() == [True] * 4 + [False] + [True] * 12


def test_the_losses_of_poses_are_their_formulas() -> None:
    squared, softmax = (
        HourglassPose(SCHEMA, width=32, stacks=2, loss=loss, norm="none") for loss in ("squared", "softmax")
    )
    softmax.load_state_dict(squared.state_dict())
    picture, truth = picture_and_truth((60, 80), 3, things=1)
    batch, truths = batch_of(squared, [(picture, truth)])
    found = squared.net(batch.image)
    hills, labelled = truths[0]
    target = stack_padded([hills], found[0].shape[2:], 0.0)[0]
    for n in (1, 2):
        maps = found[n - 1][0]
        wanted = 100 * sum(F.mse_loss(maps[j], target[j]) for j in labelled.nonzero()) / labelled.sum()
        torch.testing.assert_close(squared.losses(batch, truths)[f"stack {n}"], wanted)
        each = [
            F.cross_entropy(maps[j].flatten(), (target[j] / target[j].sum()).flatten())
            for j in labelled.nonzero()[:, 0]
        ]
        torch.testing.assert_close(softmax.losses(batch, truths)[f"stack {n}"], sum(each) / len(each))
    softmax.eval()
    softmax.net.forward = lambda image: [target[None].log().clamp(min=-50)]  # a net that is right
    softmax.flip = False
    torch.testing.assert_close(softmax(batch)["maps"][0], target, atol=0.02, rtol=0)


# settings ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("fcn", {"finest": 4}, "finest must be 32, 16 or 8"),
        ("fcn", {"backbone": "resnet18", "border": "caffe"}, "geometry of VGG"),
        ("segnet", {"backbone": "resnet18"}, "a SegNet mirrors a VGG"),
        ("segnet", {"unpool": "magic"}, "unpool must be one of places, nails, nearest, bilinear"),
        ("unet", {"loss": "cross_entropy + dise"}, "loss: 'dise' is none of cross_entropy"),
        ("unet", {"class_weights": {"tree": 2.0}}, "class_weights names tree; the classes are ground, square, disc"),
        ("deeplabv3", {"backbone": "alexnet"}, "backbone alexnet has no output_stride"),
        ("sliding-window", {"loss": "dice"}, "looks at whole pictures: set samples=0"),
    ],
)
def test_mistakes_are_told(name: str, config: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_model(name)(SCHEMA, **config)


def test_pixels_must_be_named() -> None:
    with pytest.raises(ConfigError, match="the schema must name them"):
        UNet(Schema(things=Categories.of(["a", "b"])))
    with pytest.raises(ConfigError, match="one class"):
        UNet(schema(1))


@pytest.mark.parametrize("size", [(40, 56), (33, 49), (16, 16), (1, 1)])
def test_cells_lie_in_the_middle_of_what_they_saw(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = find_model("dilated-fcn")(SCHEMA, **{**CONFIGS["dilated-fcn"], "output_stride": 16}).eval()
    image = torch.randn(1, 3, *size)
    logits = model.heads(image)["logits"]
    assert logits.shape[2:] == size
    padded = F.pad(image, (0, -(size[1] - 1) % 16, 0, -(size[0] - 1) % 16))
    cells = model.classifier(model.backbone(padded)[model.taps[1]])
    torch.testing.assert_close(logits[:, :, ::16, ::16], cells[:, :, : -(-size[0] // 16), : -(-size[1] // 16)])
    # the middle of what a cell saw: with one pixel changed, the cells that change lie evenly around it
    one = torch.zeros(1, 3, 97, 97)
    one[:, :, 48, 48] = 1
    model.backbone.requires_grad_(False)
    seen = (model.backbone(one)[8] - model.backbone(torch.zeros_like(one))[8]).abs().sum((0, 1)).nonzero().float()
    assert seen.mean(0).tolist() == pytest.approx([48 / 8, 48 / 8], abs=0.51)


OVERLAP = SCHEMA.replace(overlap=True)
SYSTEMS = [name for name in CONFIGS if "segmentation" in find_model(name).gives]


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_segmenter_learns_classes_that_overlap(name: str) -> None:
    """A disc on a square, which goes on under it: both classes at once."""
    torch.manual_seed(0)
    kind = find_model(name)
    special = {"sliding-window": {"samples": 0}, "deconvnet": {"crops": "none"}}.get(name, {})
    model = kind(OVERLAP, PREPROCESS.replace(divisor=kind.usual.divisor), **{**CONFIGS[name], **special}).train()
    cases = []
    for seed in (5, 6):
        picture, truth = picture_and_truth((64, 80), seed)
        planes = torch.from_numpy(paint_planes(truth, 2))
        everywhere = torch.ones(1, 64, 80, dtype=torch.uint8)
        cases.append((picture, Scene((64, 80), segmentation=torch.cat([everywhere, planes]))))
    batch, truths = batch_of(model, cases)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    values = []
    for _ in range(11):
        loss = sum(model.losses(batch, truths).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]
    found = Predictor(model, engine="plain").predict(cases[0][0]).segmentation
    assert found.shape == (3, 64, 80) and set(found.unique().tolist()) <= {0, 1}


def test_one_class_is_enough_where_classes_overlap() -> None:
    FlatFCN(Schema(pixels=Categories.of(["crack"]), overlap=True), width=8, depth=2)
    with pytest.raises(ConfigError, match="set samples=0"):
        SlidingWindow(OVERLAP)
    with pytest.raises(ConfigError, match="set crops=none"):
        find_model("deconvnet")(OVERLAP, multiplier=0.125)
