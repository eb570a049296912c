"""Small sets made after public bug reports: what each must give. They lie beside the project, and are no part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from videre import data
from videre.errors import DataError

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases (../shared/cases) are not here")

READ: dict[str, tuple[str, int, int, set[str]]] = {
    "01-coco-backslash/data": ("coco", 3, 6, set()),
    "02-bom/coco": ("coco", 2, 2, set()),
    "02-bom/csv": ("csv", 4, 0, set()),
    "02-bom/ids": ("instances", 3, 6, set()),
    "02-bom/labelme": ("labelme", 2, 2, set()),
    "02-bom/mpii": ("joints", 2, 2, set()),
    "02-bom/voc": ("voc", 3, 3, set()),
    "03-coco-flat-segmentation/flat": ("coco", 1, 2, set()),
    "03-coco-flat-segmentation/pairs": ("coco", 1, 2, set()),
    "03-coco-flat-segmentation/null": ("coco", 1, 2, {"instance without mask, ignored"}),
    "03-coco-flat-segmentation/box": ("coco", 1, 2, {"instance without mask, ignored"}),
    "04-coco-iscrowd/absent": ("coco", 1, 2, set()),
    "04-coco-iscrowd/false": ("coco", 1, 2, set()),
    "04-coco-iscrowd/null": ("coco", 1, 2, set()),
    "04-coco-iscrowd/text0": ("coco", 1, 2, set()),
    "04-coco-iscrowd/textFalse": ("coco", 1, 2, set()),
    "06-mask-with-hole/rle": ("coco", 1, 1, set()),
    "07-voc-names-with-spaces/data": ("voc", 4, 4, set()),
    "08-voc-lowercase-folders/lower": ("voc", 3, 3, set()),
    "08-voc-lowercase-folders/mixed": ("voc", 3, 3, set()),
    "08-voc-lowercase-folders/xmls": ("voc", 3, 3, set()),
    "08-voc-lowercase-folders/roboflow": ("voc", 6, 6, set()),
    "08-voc-lowercase-folders/splits": ("voc", 3, 3, set()),
    "08-voc-lowercase-folders/splits-images": ("voc", 3, 3, set()),
    "09-maps-0-255/one": ("maps", 9, 0, set()),
    "09-maps-0-255/255": ("maps", 9, 0, {"ids of class maps, 255 read as crack"}),
    "09-maps-0-255/bit": ("maps", 4, 0, set()),
    "09-maps-0-255/rgb": ("maps", 4, 0, set()),
    "09-maps-0-255/jpg": ("maps", 4, 0, {"ids of class maps, cut at 127"}),
    "10-hidden-folders/data": ("folders", 16, 0, set()),
    "11-labelme-shapes/inside": ("labelme", 1, 1, set()),
    "11-labelme-shapes/numbers": ("labelme", 1, 1, set()),
    "11-labelme-shapes/old": ("labelme", 1, 1, set()),
    "11-labelme-shapes/outside": ("labelme", 1, 1, {"box outside the picture, clipped"}),
    "11-labelme-shapes/rect4": ("labelme", 1, 2, set()),
    "11-labelme-shapes/rotatedbox": ("labelme", 1, 2, set()),
    "11-labelme-shapes/rotation": ("labelme", 1, 2, set()),
    "11-labelme-shapes/winpath": ("labelme", 1, 1, set()),
    "13-coco-roboflow-root/mixed-ids": ("coco", 5, 10, set()),
    "13-coco-roboflow-root/null": ("coco", 5, 10, set()),
    "13-coco-roboflow-root/numbers": ("coco", 5, 10, set()),
    "13-coco-roboflow-root/root": (
        "coco",
        5,
        10,
        {"category of which others are kinds, without annotations, left out"},
    ),
    "13-coco-roboflow-root/same": ("coco", 5, 10, {"category called like another, without annotations, left out"}),
    "13-coco-roboflow-root/text-ids": ("coco", 5, 10, set()),
    **{
        f"21-csv-in-the-wild/{name}": ("csv", 6, 0, set())
        for name in [
            "backslash",
            "case",
            "comma",
            "dot",
            "float",
            "id-label",
            "image-label",
            "index",
            "index-onehot",
            "kaggle-id",
            "latin",
            "leading",
            "lost-zeros",
            "padded",
            "semicolon",
            "utf16",
        ]
    },
    "21-csv-in-the-wild/dupe": ("csv", 6, 0, {"picture in several rows, has all labels"}),
    "21-csv-in-the-wild/empty-label": ("csv", 6, 0, {"picture without label, kept without one"}),
    "21-csv-in-the-wild/missing": ("csv", 6, 0, {"picture unreadable, dropped"}),
    **{
        f"22-keypoints-area-zero/{name}": ("coco", 2, 2, set())
        for name in ["right", "empty", "no-sides", "no-skeleton", "noarea", "text", "two", "upper-sides", "vtrue"]
    },
    "22-keypoints-area-zero/zero": ("coco", 2, 2, {"area that cannot be, replaced"}),
    "22-keypoints-area-zero/tiny": ("coco", 2, 2, {"area that cannot be, replaced"}),
    "22-keypoints-area-zero/nobox": ("coco", 2, 2, {"box that is not stated, taken from the outline"}),
    "22-keypoints-area-zero/plain-cat": ("coco", 2, 2, {"keypoints without names, called by their numbers"}),
    "22-keypoints-area-zero/zero-skeleton": ("coco", 2, 2, {"skeleton that counts from 0, read so"}),
    **{
        f"24-coco-optional-fields/{name}": ("coco", 2, 4, set())
        for name in [
            "abs",
            "bboxtext",
            "idtext",
            "info",
            "noext",
            "noid",
            "nosize",
            "otherext",
            "prefix",
            "sameid",
            "size0",
            "sizetext",
            "twins",
            "upper",
            "url",
        ]
    },
    "24-coco-optional-fields/annnull": ("coco", 2, 0, {"file without annotations, read as pictures alone"}),
    "24-coco-optional-fields/noann": ("coco", 2, 0, {"file without annotations, read as pictures alone"}),
    "24-coco-optional-fields/bboxempty": ("coco", 2, 4, {"box that is not stated, taken from the outline"}),
    "24-coco-optional-fields/bboxneg": ("coco", 2, 3, {"turned-over box, dropped"}),
    "24-coco-optional-fields/bignum": ("coco", 2, 4, {"box outside the picture, clipped"}),
    "24-coco-optional-fields/nan": ("coco", 2, 3, {"box that is not finite, dropped"}),
    "24-coco-optional-fields/nocat": ("coco", 2, 4, {"categories without names, called by their ids"}),
    "24-coco-optional-fields/only-one-missing": ("coco", 2, 4, {"picture unreadable, dropped"}),
    **{
        f"25-poses-lsp-mpii/{name}": ("joints", pictures, persons, set())
        for name, pictures, persons in (
            ("fourteen", 14, 14),
            ("lsp", 3, 3),
            ("lspet", 3, 3),
            ("mpii", 3, 3),
            ("mpii-center-neg", 3, 3),
            ("mpii-no-scale", 3, 3),
            ("mpii-two", 2, 3),
            ("numbers-not-padded", 12, 12),
            ("one", 1, 1),
            ("two", 3, 3),
        )
    },
    "25-poses-lsp-mpii/mpii-missing-picture": ("joints", 2, 2, {"picture unreadable, dropped"}),
    "25-poses-lsp-mpii/mpii-none-visible": ("joints", 3, 2, {"person without labelled joints, dropped"}),
    **{
        f"27-pixel-maps-variants/{name}": ("maps", 3, 0, set())
        for name in [
            "colors",
            "crlf-bom",
            "csv-list",
            "grey-as-rgb",
            "ignore-first",
            "ignore-labelme",
            "palette",
            "pixels-suffix",
            "plain",
            "rgba",
            "seg-suffix",
            "sixteen",
            "suffix",
            "tif",
            "upper",
        ]
    },
    "27-pixel-maps-variants/from-one": ("maps", 3, 0, {"ids of class maps, counted from 1"}),
    "27-pixel-maps-variants/missing-one": (
        "maps",
        2,
        0,
        {"picture without class map, dropped", "class map without picture, dropped"},
    ),
}
"""Case: format, pictures, things, and what was repaired, over all splits."""

REFUSED = {
    "03-coco-flat-segmentation/odd": r"image 1 \(a\.png\), annotation 17: segmentation: polygon 0 .*found 7 numbers; correct",
    "03-coco-flat-segmentation/text": r"annotation 17: segmentation: should be a list of polygons, or run lengths, found '",
    "04-coco-iscrowd/list": r"annotation 17: iscrowd should be 0 or 1, found \[0\]",
    "06-mask-with-hole/short": r"annotation 3: .*run lengths sum to 5751, the picture has 6144 pixels",
    "06-mask-with-hole/swapped": r"annotation 3: .*size \(96, 64\), the picture is \(64, 96\)",
    "11-labelme-shapes/empty": r"a\.json: shape 0 \(nut\): a polygon has at least 3 points, found 0; correct the file",
    "11-labelme-shapes/nolabel": r"a\.json: shape at place 0: label should be text, found ''",
    "11-labelme-shapes/twopoint": r"a\.json: shape 0 \(nut\): a polygon has at least 3 points, found 2",
    "12-exif-turned/stored": r"stored \(EXIF orientation 6\): if .* seen, correct width and height .*; if .*, turn the labels",
    "12-exif-turned/mixed": r"stored \(EXIF orientation 6\): if .* seen, correct width and height in the file; if",
    "12-exif-turned/map-stored": r"a\.png: the class map is 96x64 .*orientation 6\), and the map drawn: turn the map, or",
    "22-keypoints-area-zero/half": r"annotation 1: keypoints should be 9 finite numbers .*visibility 0, 1 or 2",
    "22-keypoints-area-zero/short": r"annotation 2: keypoints should be 9 finite numbers",
    "22-keypoints-area-zero/v3": r"annotation 1: keypoints should be",
    "22-keypoints-area-zero/two-cats": r"categories \['dog', 'bird'\] have different keypoints",
    "24-coco-optional-fields/boolid": r"image True: id should be a number or text, found True",
    "24-coco-optional-fields/relative": r"boxes have numbers between 0 and 1; COCO counts pixels: multiply",
    "24-coco-optional-fields/segbytes": r"annotation 1: segmentation: .*not compressed run lengths; correct the file",
    "24-coco-optional-fields/segdict": r"annotation 1: segmentation: .*not compressed run lengths; correct the file",
    "24-coco-optional-fields/strcat": r"annotations of categories \[99\] that are not listed under categories",
    "24-coco-optional-fields/swapped": r"image 1: height and width should be 64 and 96, as in the file, found 96 and 64",
    "24-coco-optional-fields/xyxy": r"2 of 4 boxes leave their pictures, and all fit as corners",
    "25-poses-lsp-mpii/mpii-single-quote": r"no labels that can be read, yet 1 \.json lie here .*train\.json: .*not a JSON",
    "25-poses-lsp-mpii/visible": r"joints\.mat: no field 'joints'",
    "27-pixel-maps-variants/anti-aliased": r"s0\.png: colour .* the edges are blurred, .*save the maps as PNG",
    "27-pixel-maps-variants/big-id": r"s0\.png: id 7 on 1920 pixels; the class list has none of these",
    "27-pixel-maps-variants/colors-jpeg": r"the edges are blurred, by smoothing or as JPEG",
    "27-pixel-maps-variants/resized": r"the class map is 48x32 .* is 96x64; it is another picture, or was resized",
}


@pytest.mark.parametrize("case", READ)
def test_what_can_be_meant_is_read(case: str) -> None:
    format, pictures, things, repairs = READ[case]
    assert data.find_format(CASES / case) == format
    parts = [data.read(CASES / case, name) for name in data.splits(CASES / case) if case != "07"] or []
    whole = data.read(CASES / case)
    scenes = [whole.scene(i) for i in range(len(whole))]
    assert len(whole) == pictures and sum(map(len, scenes)) == things
    assert set(whole.repair_counts()) == repairs
    assert all(part.schema == whole.schema for part in parts)
    for i in range(len(whole)):
        assert whole.picture(i).shape[:2] == scenes[i].size


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_with_its_place(case: str) -> None:
    with pytest.raises(DataError, match=REFUSED[case]):
        dataset = data.read(CASES / case)
        for i in range(len(dataset)):
            dataset.scene(i)
            dataset.picture(i)


def test_flags_decide_what_is_ignored() -> None:
    for name in ("absent", "false", "null", "text0", "textFalse"):
        scene = data.read(CASES / "04-coco-iscrowd" / name).scene(0)
        assert scene.instances is not None and scene.instances.ignore is not None
        assert not scene.instances.ignore.any(), name


def test_run_lengths_that_wrap_around_are_refused() -> None:
    with pytest.raises(DataError, match=r"annotation 1: segmentation: counts: run lengths are whole numbers from 0"):
        data.read(CASES / "fuzz" / "rle-wraps")
