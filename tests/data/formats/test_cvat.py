"""CVAT's XML: every shape worked by hand; what is left out, refused, written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videre import data
from videre.data.dataset import Dataset
from videre.data.flat import FlatMasks, FlatSource, Ragged
from videre.data.formats import cvat
from videre.errors import DataError
from videre.images.reading import write_picture
from videre.structures import Categories, Polygons, Schema, Skeleton

LABELS = (
    "<label><name>cup</name><type>any</type></label><label><name>ball</name><type>ellipse</type></label>"
    "<label><name>rim</name><type>polyline</type></label><label><name>indoors</name><type>tag</type></label>"
)
BOX = '<box label="cup" source="manual" occluded="0" xtl="1.5" ytl="1" xbr="4" ybr="3.25" z_order="0"></box>'
SHAPES = f"""{BOX}
<polygon label="cup" occluded="0" points="5,0;8,0;8,2;5,2" z_order="0"><attribute name="colour">red</attribute></polygon>
<mask label="ball" rle="1, 2, 3, 1, 2" left="2" top="4" width="3" height="3" z_order="0"/>
<ellipse label="ball" cx="4" cy="4" rx="3" ry="2"/>
<polyline label="rim" points="0,0;5,5"/>
<points label="cup" points="1,1"/>
<tag label="indoors" source="manual"></tag>"""


def xml(images: str, labels: str = LABELS) -> str:
    meta = f"<meta><task><id>1</id><mode>annotation</mode><labels>{labels}</labels></task></meta>" if labels else ""
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n{meta}\n{images}\n</annotations>\n'


def image(content: str, name: str = "a.png", number: int = 0, more: str = 'width="10" height="8"') -> str:
    return f'<image id="{number}" name="{name}" {more}>\n{content}\n</image>'


def put(folder: Path, text: str, pictures: tuple[str, ...] = ("images/a.png",), file: str = "annotations.xml") -> Path:
    for name in pictures:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_picture(folder / name, np.zeros((8, 10, 3), np.uint8))
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)
    return folder


def test_shapes_become_instances(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, xml(image(SHAPES))))
    assert data.find_format(tmp_path) == "cvat" and data.splits(tmp_path) == []
    assert list(found.schema.things) == ["cup", "ball"] and list(found.schema.pictures) == ["indoors"]
    scene = found.scene(0)
    things = scene.instances
    assert scene.labels.tolist() == [0] and things.labels.tolist() == [0, 0, 1, 1] and scene.meta["id"] == 0
    assert things.boxes.tolist() == [[1.5, 1, 4, 3.25], [5, 0, 8, 2], [2, 4, 5, 7], [1, 2, 7, 6]]
    # row by row in the window: one 0, two 1s; three 0s; one 1, two 0s
    assert things.masks.bitmaps()[2, 4:7, 2:5].tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert things.masks.area().tolist()[1:3] == [6, 3]
    assert [(r.kind, r.annotation, r.found) for r in found.repairs] == [
        ("polyline of CVAT", 4, "rim"),
        ("points of CVAT", 5, "cup"),
        ("instance without mask", 0, "is a box only"),
    ]


def test_a_turned_box_is_an_outline_turned_clockwise(tmp_path: Path) -> None:
    turned = '<box label="cup" xtl="2" ytl="3" xbr="8" ybr="5" rotation="90"/>'
    slanted = '<box label="cup" xtl="4" ytl="3" xbr="6" ybr="5" rotation="45"/>'
    things = data.read(put(tmp_path, xml(image(turned + slanted)))).scene(0).instances
    assert things.boxes[0].tolist() == [4, 1, 6, 7]
    half = math.sqrt(2)
    assert torch.allclose(things.boxes[1], torch.tensor([5 - half, 4 - half, 5 + half, 4 + half]))
    corner = things.masks.polygons()[0].parts[0][0]  # the upper left one is now the upper right one
    assert corner.tolist() == pytest.approx([6, 1])


def test_boxes_alone_are_no_masks_and_without_meta_classes_are_sorted(tmp_path: Path) -> None:
    found = data.read(put(tmp_path, xml(image(BOX + BOX.replace("cup", "bowl")), labels="")))
    assert found.fields == {"boxes", "instances.labels"} and list(found.schema.things) == ["bowl", "cup"]
    assert not found.repairs


def test_skeletons_are_keypoints(tmp_path: Path) -> None:
    svg = '&lt;line x1="1" data-type="edge" data-node-from="1" data-node-to="3"&gt;&lt;/line&gt;' + "".join(
        f'&lt;circle r="1" data-node-id="{n}" data-label-name="{name}"&gt;&lt;/circle&gt;'
        for n, name in ((1, "nose"), (2, "left ear"), (3, "right ear"))
    )
    labels = f"<label><name>head</name><type>skeleton</type><svg>{svg}</svg></label>" + "".join(
        f"<label><name>{n}</name><type>points</type><parent>head</parent></label>"
        for n in ("nose", "left ear", "right ear")
    )
    head = (
        '<skeleton label="head"><points label="right ear" occluded="1" outside="0" points="6.50,2.00"/>'
        '<points label="nose" occluded="0" outside="0" points="3,7"/>'
        '<points label="left ear" occluded="0" outside="1" points="9,9"/></skeleton>'
    )
    found = data.read(put(tmp_path, xml(image(head), labels)))
    assert found.schema.skeleton == Skeleton(("nose", "left ear", "right ear"), ((0, 2),), ((1, 2),))
    things = found.scene(0).instances
    assert things.keypoints.tolist() == [[[3, 7], [0, 0], [6.5, 2]]] and things.visibility.tolist() == [[2, 0, 1]]
    assert things.boxes.tolist() == [[3, 2, 6.5, 7]] and list(found.schema.things) == ["head"]
    data.write(found, tmp_path / "out", "cvat")
    again = data.read(tmp_path / "out")
    assert again.schema == found.schema and torch.equal(again.scene(0).instances.keypoints, things.keypoints)
    assert torch.equal(again.scene(0).instances.visibility, things.visibility)


def test_subsets_folders_and_files_are_splits(tmp_path: Path) -> None:
    images = image(BOX, more='subset="train"') + image(BOX, more='subset="test" width="10" height="8"', number=1)
    put(tmp_path / "a", xml(images), ("images/train/a.png", "images/test/a.png"))
    assert data.splits(tmp_path / "a") == ["test", "train"]
    part = data.read(tmp_path / "a", "test")
    assert len(part) == 1 and part.name(0) == "test/a.png" and part.path(0) == tmp_path / "a/images/test/a.png"
    assert len(data.read(tmp_path / "a")) == 2 and data.read(tmp_path / "a", "train").size(0) == (8, 10)
    put(tmp_path / "b", xml(image(BOX)), ("a.png",), "train.xml")
    put(tmp_path / "b", xml(image(BOX, "b.png")), ("b.png",), "val/annotations.xml")
    assert data.splits(tmp_path / "b") == ["train", "val"]
    assert [data.read(tmp_path / "b", split).name(0) for split in ("train", "val")] == ["a.png", "b.png"]
    assert data.read(tmp_path / "b" / "train.xml").name(0) == "a.png"


def test_lost_pictures_are_counted_and_none_at_all_is_told(tmp_path: Path) -> None:
    put(tmp_path, xml(image(BOX) + image(BOX, "gone/b.png", 1)))
    found = data.read(tmp_path)
    looked = f"no picture 'gone/b.png' in {tmp_path}/images or {tmp_path}, or below"
    assert [(r.kind, r.picture, r.found) for r in found.repairs] == [("picture unreadable", "gone/b.png", looked)]
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/annotations.xml: no picture 'a.png' in {tmp_path}/images or {tmp_path}, or below, nor any other of "
        "the 2 that it names; put the pictures there"
    )


def test_degenerate_boxes_are_dropped_and_counted(tmp_path: Path) -> None:
    flat = BOX.replace('xbr="4"', 'xbr="1.5"')
    found = data.read(put(tmp_path, xml(image(flat + BOX.replace('xtl="1.5"', 'xtl="-3"')))))
    assert found.scene(0).instances.boxes.tolist() == [[0, 1, 4, 3.25]]
    assert found.repair_counts() == {"box without area, dropped": 1, "box outside the picture, clipped": 1}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_line_ends(tmp_path: Path, mark: str, end: str) -> None:
    put(tmp_path, "")
    (tmp_path / "annotations.xml").write_bytes((mark + xml(image(SHAPES))).replace("\n", end).encode())
    assert data.find_format(tmp_path) == "cvat" and len(data.read(tmp_path).scene(0).instances) == 4
    (tmp_path / "annotations.xml").write_bytes(xml(image(SHAPES)).replace("utf-8", "utf-16").encode("utf-16"))
    assert data.find_format(tmp_path) == "cvat" and len(data.read(tmp_path).scene(0).instances) == 4


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            BOX.replace('xtl="1.5"', 'xtl="nan"'),
            "box at place 0: xtl should be a finite number below 2147483648, found 'nan'",
        ),
        (
            BOX.replace('xtl="1.5"', ""),
            "box at place 0: xtl should be a finite number below 2147483648, but it is missing",
        ),
        (
            BOX.replace('ybr="3.25"', 'ybr="1e300"'),
            "box at place 0: ybr should be a finite number below 2147483648, found '1e300'",
        ),
        (
            BOX.replace("cup", "mug"),
            "box at place 0: label should be one of <meta>, cup, ball, rim, indoors, found 'mug'",
        ),
        (BOX.replace("cup", ""), "box at place 0: label should be a name, but it is missing"),
        (
            '<polygon label="cup" points="1,1;2,2"/>',
            "polygon at place 0: points should be x,y;x,y;… with at least 3 of them, finite numbers, found 2",
        ),
        (
            '<polygon label="cup" points="1,1;2,x;3,3"/>',
            "polygon at place 0: points should be x,y;x,y;… with at least 3 of them, finite numbers, found '1,1;2,x;3,3'",
        ),
        (
            '<mask label="cup" rle="1, 2" left="0" top="0" width="2" height="2"/>',
            "mask at place 0: rle should be counts of the 4 pixels of its window, whose sum is 3",
        ),
        (
            '<mask label="cup" rle="1, -2" left="0" top="0" width="2" height="2"/>',
            "mask at place 0: rle should be counts of the 4 pixels of its window, found '1, -2'",
        ),
        (
            '<mask label="cup" rle="4" left="9" top="0" width="2" height="2"/>',
            "mask at place 0: the window should lie in the picture, 10x8 (width x height), found left 9, top 0, width 2, "
            "height 2",
        ),
        (
            '<mask label="cup" rle="4" left="0.5" top="0" width="2" height="2"/>',
            "mask at place 0: left should be a whole number of pixels, found '0.5'",
        ),
        (
            '<skeleton label="cup"><points label="rim" points="1,1"/></skeleton>',
            "skeleton at place 0: its points should be of labels in <meta>, found 'rim'",
        ),
    ],
)
def test_spoiled_shapes_are_told(tmp_path: Path, shape: str, message: str) -> None:
    put(tmp_path, xml(image(shape)))
    where = f"{tmp_path}/annotations.xml: image 0 (a.png), "
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert str(error.value) == (
        f"{where}{message}; correct the file (or go on without it: --skip-broken, skip_broken=True)"
    )
    found = data.read(tmp_path, skip_broken=True)
    assert found.repair_counts() == {"broken annotation, dropped": 1} and len(found.scene(0)) == 0


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    bad = BOX.replace("cup", "mug")
    put(tmp_path, xml(image(bad + BOX + bad) + image(bad, "b.png", 1, 'width="x" height="8"') + image("", "a.png", 2)))
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("4 faults; correct them") and "box at place 2" in str(error.value)
    assert (
        f"  {tmp_path}/annotations.xml: image 1: width should be a whole number of pixels, found 'x'; correct the file"
        in lines
    )
    assert any("image 2 (a.png): name 'a.png' is that of" in line for line in lines)


def test_one_of_several_files_may_be_broken(tmp_path: Path) -> None:
    put(tmp_path, xml(image(BOX)), file="train.xml")
    put(tmp_path, xml(image(BOX, "b.png").replace('xtl="1.5"', 'xtl="x"')), ("images/b.png",), "val.xml")
    put(tmp_path, xml("")[:-5], (), "test.xml")
    with pytest.raises(DataError) as error:
        data.read(tmp_path)
    assert [line.rpartition("; ")[0].partition(" (")[0] for line in str(error.value).splitlines()[1:]] == [
        f"  {tmp_path}/test.xml: not an XML file",
        f"  {tmp_path}/val.xml: image 0",
    ]
    assert data.splits(tmp_path) == ["train", "val"] and len(data.read(tmp_path, skip_broken=True)) == 2
    for name in ("train", "val"):
        (tmp_path / f"{name}.xml").write_text("<annotations><meta>")
    with pytest.raises(DataError, match=r"test.xml: not an XML file"):
        data.read(tmp_path, skip_broken=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "<annotations><version>1.1</version><track id='0'/></annotations>",
            'is of a video, with <track>; export the task as "CVAT for images 1.1"',
        ),
        (
            "<annotations><version>1.1</version><image",
            "not an XML file (unclosed token: line 1, column 35); export it again",
        ),
        (
            "<?xml version='1.0' encoding='klingon'?><annotations><version>1.1</version></annotations>",
            "not an XML file (unknown encoding: klingon); export it again",
        ),
        (
            "<!DOCTYPE a [<!ENTITY b 'c'>]><annotations><version>1.1</version></annotations>",
            "has a document type or entities, which CVAT does not write; export it again",
        ),
        (
            "<annotations><version>1.1</version></annotations>",
            "has no <image>; export the task again, with its images annotated",
        ),
        (xml(image(""), ""), "has no label, neither in <meta> nor on a shape that encloses anything, nor on a tag"),
        (
            xml(image("", name="")),
            "image 0: name should be that of its picture, but it is missing; correct the file (or go on without it: --skip-broken, skip_broken=True)",
        ),
    ],
)
def test_bad_files_are_told(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, text)
    with pytest.raises(DataError) as error:
        cvat.read(tmp_path)
    assert str(error.value) == f"{tmp_path}/annotations.xml: {message}"


def test_voc_beside_is_told_apart(tmp_path: Path) -> None:
    put(tmp_path, "<annotation><filename>a.png</filename></annotation>", file="Annotations/a.xml")
    assert data.find_format(tmp_path) == "voc"
    put(tmp_path / "cvat", xml(image(BOX)))
    assert data.find_format(tmp_path / "cvat") == data.find_format(tmp_path / "cvat" / "annotations.xml") == "cvat"


# writing --------------------------------------------------------------------------------------------------------------


def make(folder: Path, outlines: list[Any] | None, boxes: Any, **more: Any) -> Dataset:
    folder.mkdir(exist_ok=True)
    write_picture(folder / "p.png", np.zeros((8, 10, 3), np.uint8))
    columns = {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "labels": np.zeros(len(boxes), np.int64), **more}
    masks = FlatMasks(outlines) if outlines is not None else None
    source = FlatSource(
        [str(folder / "p.png")],
        ["p.png"],
        np.array([[8, 10]]),
        starts=np.array([0, len(boxes)]),
        columns=columns,
        masks=masks,
        labels=Ragged.of([[1]], np.int64),
    )
    return Dataset(source, Schema(things=Categories.of(["cup"]), pictures=Categories.of(["dark", "light"])))


coordinates = st.integers(0, 6).flatmap(lambda a: st.floats(a + 0.5, 8, width=32).map(lambda b: (float(a), b)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), max_size=4), st.booleans())
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, spans: list[Any], with_masks: bool) -> None:
    folder = tmp_path_factory.mktemp("cvat")
    boxes = [[x1, y1, x2, y2] for (x1, x2), (y1, y2) in spans]
    outlines = [Polygons((np.array([[a, b], [c, b], [c, d], [a, (b + d) / 2], [a, d]]),)) for a, b, c, d in boxes]
    before = make(folder / "in", outlines if with_masks and boxes else None, boxes)
    assert data.write(before, folder / "out", "cvat") == []
    after = data.read(folder / "out", "train")
    one, two = before.scene(0), after.scene(0)
    assert after.schema == before.schema and after.fields == before.fields and not after.repairs
    assert torch.equal(one.labels, two.labels) and torch.equal(one.instances.boxes, two.instances.boxes)
    if one.instances.masks is not None:
        assert torch.equal(one.instances.masks.bitmaps(), two.instances.masks.bitmaps())


def test_masks_with_holes_and_parts_become_run_lengths(tmp_path: Path) -> None:
    rings = [np.array([[1, 1], [6, 1], [6, 6], [1, 6]]), np.array([[8, 0], [9, 0], [9, 2], [8, 2]])]
    outline = Polygons(tuple(rings), (np.array([[2, 2], [4, 2], [4, 4], [2, 4]]),))
    before = make(tmp_path / "in", [outline], [[1, 0, 9, 6]])
    assert data.write(before, tmp_path / "out", "cvat") == []
    after = data.read(tmp_path / "out").scene(0).instances
    assert torch.equal(after.masks.bitmaps(), before.scene(0).instances.masks.bitmaps())
    assert after.boxes.tolist() == [[1, 0, 9, 6]]


def test_splits_add_up_in_one_file(tmp_path: Path) -> None:
    before = make(tmp_path / "in", None, [[0, 0, 4, 4]])
    for split in ("train", "val", "train"):
        cvat.write(before, tmp_path / "out", split)
    assert data.splits(tmp_path / "out") == ["train", "val"] and len(data.read(tmp_path / "out")) == 2
    before.schema = Schema(things=Categories.of(["mug"]), pictures=before.schema.pictures)
    with pytest.raises(DataError, match="is there already, with other labels; name a new folder"):
        cvat.write(before, tmp_path / "out", "test")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    outline = Polygons((np.array([[1, 1], [4, 1], [4, 4]]),))
    wide = make(tmp_path / "in", [outline], [[0, 0, 9, 8]])
    with pytest.raises(
        DataError, match="CVAT holds a box, or an outline, or keypoints of an instance, and of number 0 there is more"
    ):
        data.write(wide, tmp_path / "out", "cvat")
    assert data.write(wide, tmp_path / "out", "cvat", lossy=True) == ["boxes, masks or keypoints of 1 instances"]
    points, seen = np.array([[[2, 2], [5, 5]]], np.float32), np.array([[2, 1]], np.uint8)
    larger = make(tmp_path / "in", None, [[0, 0, 9, 8]], keypoints=points, visibility=seen)
    larger.schema = larger.schema.replace(skeleton=Skeleton(("a", "b")))
    with pytest.raises(DataError, match="of number 0 there is more"):
        data.write(larger, tmp_path / "larger", "cvat")
    data.write(larger, tmp_path / "larger", "cvat", lossy=True)
    things = data.read(tmp_path / "larger").scene(0).instances
    assert things.boxes.tolist() == [[0, 0, 9, 8]] and things.visibility.tolist() == [[0, 0]]
    ignored = make(tmp_path / "in", None, [[0, 0, 9, 8]], ignore=np.array([True]))
    with pytest.raises(DataError, match="CVAT cannot hold ignore"):
        data.write(ignored, tmp_path / "no", "cvat")
    ignored.schema = Schema(things=Categories.of(["dark"]), pictures=ignored.schema.pictures)
    with pytest.raises(DataError, match="'dark' is a class of things and of pictures"):
        data.write(ignored, tmp_path / "no", "cvat", lossy=True)
