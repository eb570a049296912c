"""Small valid pictures and data sets of every kind, changed at random: what `benchmarks/fuzz.py` and the tests try.

A case is a function of its number alone.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import random
import shutil
import struct
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageDraw, features
from scipy.io import savemat

from videre import data
from videre.data import audit
from videre.data.blocks import blocks_dataset
from videre.errors import VidereError
from videre.images.reading import exif_orientation, picture_size, read_ids, read_picture

Files = dict[str, bytes | None]
"""A folder's files by their names; None is a folder of that name."""
HEIGHT, WIDTH = 40, 56
EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
"""Numbers that overflow something."""

# Valid pictures -------------------------------------------------------------------------------------------------------


def _photograph() -> np.ndarray:
    """Ramps and a disc, uint8 [H, W, 3]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack([x * 4, y * 6, (x + y) * 2], 2).astype(np.uint8)
    picture[(x - 20) ** 2 + (y - 20) ** 2 < 150] = (200, 40, 90)
    return picture


@functools.cache
def valid_pictures() -> dict[str, bytes]:
    """One of each kind that is read, by file name."""
    colors = _photograph()
    image, grey = Image.fromarray(colors), Image.fromarray(colors[:, :, 0])
    clear = image.copy()
    clear.putalpha(grey)
    deep = colors.astype(np.uint16) * 257
    later = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image.rotate(180)]
    turned = Image.Exif()
    turned[0x0112] = 6

    def saved(picture: Image.Image, kind: str, several: bool = False, **options: Any) -> bytes:
        file = io.BytesIO()
        pages = [page.copy() for page in later] if several else []  # a JPEG leaves its settings behind
        picture.copy().save(file, kind, **options, **({"save_all": True, "append_images": pages} if several else {}))
        return file.getvalue()

    def tiff(array: np.ndarray, **options: Any) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        return file.getvalue()

    found = {
        "plain.jpg": saved(image, "JPEG"),
        "turned.jpg": saved(image, "JPEG", exif=turned),
        "progressive.jpg": saved(image, "JPEG", progressive=True),
        "cmyk.jpg": saved(image.convert("CMYK"), "JPEG"),
        "grey.jpg": saved(grey, "JPEG"),
        "two.mpo": saved(image, "MPO", several=True),
        "rgb.png": saved(image, "PNG"),
        "rgba.png": saved(clear, "PNG", exif=turned),
        "grey.png": saved(grey, "PNG"),
        "palette.png": saved(image.quantize(16), "PNG", transparency=3),
        "bits.png": saved(image.convert("1"), "PNG"),
        "deep_grey.png": saved(Image.fromarray(deep[:, :, 0]), "PNG"),
        "deep.png": _deep_png(deep),
        "moving.png": saved(image, "PNG", several=True),
        "lossy.webp": saved(clear, "WEBP"),
        "lossless.webp": saved(image, "WEBP", lossless=True, exif=turned),
        "moving.webp": saved(image, "WEBP", several=True),
        "plain.tif": saved(image, "TIFF"),
        "lzw.tif": saved(image, "TIFF", compression="tiff_lzw"),
        "packed.tif": saved(image.convert("1"), "TIFF", compression="group4"),
        "jpeg.tif": saved(image, "TIFF", compression="jpeg"),
        "pages.tif": saved(image, "TIFF", several=True),
        "tiled.tif": tiff(colors, tile=(16, 16), photometric="rgb", compression="zlib"),
        "deep.tif": tiff(deep, photometric="rgb", compression="zlib"),
        "float.tif": tiff(colors[:, :, 0].astype(np.float32) / 255),
        "planes.tif": tiff(np.moveaxis(deep, -1, 0), photometric="minisblack", bigtiff=True),
        "big_endian.tif": tiff(deep[:, :, 0], byteorder=">"),
        "plain.bmp": saved(image, "BMP"),
        "palette.bmp": saved(image.quantize(16), "BMP"),
        "moving.gif": saved(image, "GIF", several=True),
        "plain.jp2": saved(image, "JPEG2000"),
        "lossy.j2k": saved(grey, "JPEG2000", irreversible=True, quality_layers=[20]),
        "plain.ppm": saved(image, "PPM"),
        "deep.pgm": saved(Image.fromarray(deep[:, :, 0]), "PPM"),
        "text.pgm": b"P2\n%d %d\n255\n" % (WIDTH, HEIGHT) + b" ".join(b"%d" % v for v in colors[:, :, 0].ravel()),
        "bits.pbm": saved(image.convert("1"), "PPM"),
        "plain.tga": saved(clear, "TGA"),
        "packed.tga": saved(image, "TGA", compression="tga_rle"),
    }
    if features.check("avif"):
        found["plain.avif"] = saved(image, "AVIF")
        found["moving.avif"] = saved(image, "AVIF", several=True)
    return found


def _deep_png(picture: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", picture)[1].tobytes()


# Valid data sets ------------------------------------------------------------------------------------------------------


@functools.cache
def valid_datasets() -> dict[str, Files]:
    """One of each layout that is read: the name begins with its format."""
    blocks = blocks_dataset(3, size=(48, 64))
    found: dict[str, Files] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in data.FORMATS:
            if name not in ("cityscapes", "joints", "parquet", "folders"):
                # CVAT has one label of a name, and the blocks have classes of things and of pictures that are called alike
                scenes = data.read(Path(folder) / "coco") if name == "cvat" else blocks
                data.write(scenes, Path(folder) / name, name, lossy=True)
                found[name] = files_of(Path(folder) / name)
    picture = next(content for name, content in found["voc"].items() if name.endswith(".png"))
    stuff = found["coco-stuff"]
    found["coco-stuff regions"] = {name: content for name, content in stuff.items() if "_pixelmaps" not in name}
    found["coco-stuff maps"] = {
        name.replace("annotations/stuff_train_pixelmaps", "stuffthingmaps/train"): content
        for name, content in stuff.items()
        if not name.endswith(".json")
    } | {"stuffthingmaps/labels.txt": b"0: unlabeled\n" + b"".join(b"%d: class %d\n" % (k, k) for k in range(1, 256))}
    found["coco runs"] = _with_runs(found["coco"])
    found["coco outlines"] = _with_outlines(found["coco runs"])
    found["labelme shapes"] = _with_shapes(found["labelme"])
    found["maps colors"] = {n: c for n, c in found["maps"].items() if n != "classes.json"} | {
        "label_colors.txt": "".join(
            f"{' '.join(map(str, color))} {name}\n" for name, color in zip(*_named(blocks.schema.pixels))
        ).encode()
    }
    found["maps voc"] = {
        f"{folder}/2007_00000{n}.png": content
        for folder, content in (("JPEGImages", picture), ("SegmentationClass", _map(20)))
        for n in range(3)
    } | {
        "ImageSets/Segmentation/train.txt": b"2007_000000\n2007_000001\n",
        "ImageSets/Segmentation/val.txt": b"2007_000002\n",
    }
    found["instances voc"] = found["maps voc"] | {f"SegmentationObject/2007_00000{n}.png": _map(20) for n in range(3)}
    found["maps roboflow"] = {
        name: content
        for n in range(3)
        for name, content in ((f"train/p{n}.png", picture), (f"train/p{n}_mask.png", _map(3)))
    } | {"train/_classes.csv": b"Pixel Value, Class\n0, background\n1, road\n2, sky\n"}
    found["boxes-csv bare"] = {f"p{n}.png": picture for n in range(3)} | {
        "boxes.csv": b"p0.png,1,2,30,40,cat\np1.png,,,,,\np2.png,5,6,7,8,dog\n"
    }
    objects = [
        {"label": "road", "polygon": [[0, 20], [63, 20], [63, 47], [0, 47]]},
        {"label": "car", "polygon": [[5, 5], [30, 6], [28, 30], [4, 29]]},
        {"label": "persongroup", "polygon": [[35, 10], [50, 10], [50, 40]], "deleted": 0},
    ]
    frame = json.dumps({"imgHeight": 48, "imgWidth": 64, "objects": objects}).encode()
    found["cityscapes"] = {
        name: content
        for n in range(3)
        for name, content in (
            (f"gtFine/train/aachen/aachen_{n}_gtFine_polygons.json", frame),
            (f"leftImg8bit/train/aachen/aachen_{n}_leftImg8bit.png", picture),
        )
    }
    found["joints lsp"] = {f"images/im000{n}.png": picture for n in (1, 2, 3)} | {"joints.mat": _matrix((3, 14, 3))}
    people = [
        {
            "image": f"p{n}.png",
            "joints": [[5.0 + 2 * k, 4.0 + k] for k in range(16)],
            "joints_vis": [1] * 16,
            "center": [20.0, 20.0],
            "scale": 0.1,
        }
        for n in (0, 1, 2, 0)
    ]
    found["joints mpii"] = {f"images/p{n}.png": picture for n in range(3)} | {
        "annot/train.json": json.dumps(people).encode()
    }
    found["folders"] = {f"train/{name}/p{n}.png": picture for name in ("cat", "dog") for n in range(2)}
    return found


def files_of(folder: Path) -> Files:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
        if p.is_file() or not any(p.iterdir())
    }


def _named(categories: Any) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    return categories.names, categories.colors


def _map(top: int) -> bytes:
    """A grey PNG of ids below `top`, as large as the pictures of the data sets."""
    return _encoded((np.arange(48 * 64).reshape(48, 64) // 97 % top).astype(np.uint8))


def _encoded(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def _with_runs(files: Files) -> Files:
    """COCO's outlines as run lengths: compressed text, numbers, a crowd."""
    name = "annotations/instances_train.json"
    content = json.loads(files[name] or b"")
    counts = [1000, 5, 43, 6, 42, 7, 48 * 64 - 1103]
    for n, row in enumerate(content["annotations"]):
        row |= {"segmentation": {"size": [48, 64], "counts": counts}, "iscrowd": n % 2, "area": 18}
    from videre.structures import Masks

    text = Masks.from_rle([{"size": [48, 64], "counts": counts}], (48, 64)).rle()[0]["counts"]
    for row in content["annotations"][::2]:
        row["segmentation"]["counts"] = text
    alone = {n: c for n, c in files.items() if "captions" not in n}
    return {**alone, name: json.dumps(content).encode()}


def _with_outlines(files: Files) -> Files:
    """COCO's outlines as numbers, in one or two parts, without keypoints."""
    name = "annotations/instances_train.json"
    content = json.loads(files[name] or b"")
    for n, row in enumerate(content["annotations"]):
        row["segmentation"] = [[5, 5, 30.5, 6, 28, 30], [40, 20, 50, 20, 50, 40, 41, 39]][: 1 + n % 2]
        row["area"] = 400
        del row["keypoints"], row["num_keypoints"]
    for row in content["categories"]:
        del row["keypoints"], row["skeleton"]
    return {**files, name: json.dumps(content).encode()}


def _with_shapes(files: Files) -> Files:
    """labelme's other shapes."""
    bitmap = base64.b64encode(_encoded(np.full((9, 8), 255, np.uint8))).decode()
    shapes = [
        {"label": "cube", "shape_type": "rectangle", "points": [[20, 20], [5, 5.5]], "group_id": 1},
        {"label": "cube", "shape_type": "circle", "points": [[40, 20], [45, 22]], "group_id": None},
        {"label": "cone", "shape_type": "mask", "points": [[10, 12], [17, 20]], "mask": bitmap},
        {"label": "cone", "points": [[3, 3], [60, 4], [30, 40]], "group_id": 2},
        {"label": "cone", "shape_type": "line", "points": [[3, 3], [60, 4]]},
    ]
    changed = {}
    for name, content in files.items():
        if content is not None and name.endswith(".json"):
            changed[name] = json.dumps({**json.loads(content), "shapes": shapes}).encode()
    return {**files, **changed}


def _matrix(shape: tuple[int, ...], kind: Any = float, name: str = "joints", **options: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, {name: (np.arange(np.prod(shape)).reshape(shape) % 40 + 1).astype(kind)}, **options)
    return file.getvalue()


# Changes of bytes -----------------------------------------------------------------------------------------------------


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, insert, swap or overwrite bytes somewhere; the header is hit as often as all the rest."""
    found = bytearray(content)
    at = lambda: rng.randrange(min(len(found), 64) if rng.random() < 0.5 else len(found)) if found else 0
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place, change = at(), rng.randrange(7)
        if change == 0 and found:
            found[place] ^= 1 << rng.randrange(8)
        elif change == 1:
            del found[place : place + rng.choice((1, 2, 4, 64))]
        elif change == 2:
            found[place:place] = rng.randbytes(rng.choice((1, 2, 4, 64)))
        elif change == 3 and rng.random() < 0.3:
            del found[place:]
        elif change == 4:
            length = rng.choice((4, 16, 128))
            other = at()
            found[place : place + length], found[other : other + length] = (
                found[other : other + length],
                found[place : place + length],
            )
        elif change == 5 and found:
            found[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        else:
            size, letter = rng.choice(((2, "H"), (4, "I"), (8, "Q")))
            number = rng.choice(EXTREMES) & (256**size - 1)
            found[place : place + size] = struct.pack(rng.choice("<>") + letter, number)
    return bytes(found)


def mutate_picture(content: bytes, rng: random.Random) -> bytes:
    """As bytes; of a PNG the check sums are made to fit half of the time, so that more than the first check is reached."""
    changed = mutate_bytes(content, rng)
    return _mend_sums(changed) if changed[:8] == b"\x89PNG\r\n\x1a\n" and rng.random() < 0.5 else changed


def _mend_sums(content: bytes) -> bytes:
    import zlib

    found, at = bytearray(content), 8
    while at + 12 <= len(found):
        end = at + 8 + int.from_bytes(found[at : at + 4], "big")
        if end + 4 > len(found):
            break
        found[end : end + 4] = zlib.crc32(found[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(found)


# Changes of structure -------------------------------------------------------------------------------------------------

STRANGE: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    "1",
    "-1",
    "nan",
    "\ud800",
    "a\0b",
    "../../x",
    "/",
    ".",
    "é" * 300,
    [],
    {},
    [[]],
    [None],
    [1, 2],
    {"a": 1},
    -1,
    0,
    0.5,
    255,
    256,
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
)
NUMBERS = (0, 2, -0.5, 1e-30, 65536, 10**6, 2**24 - 1, 2**31 - 1, 2**53, 2**63 - 1, 1e30)
"""That fit somewhere, and may be too large for what comes after."""
STRANGE_TEXTS = (
    *("", " ", "-1", "0", "0.5", "nan", "inf", "1e308", "1e999", str(2**31), str(2**63), "9" * 400, "9" * 5000, "x"),
    *("é" * 300, "x" * 200000, "../../x", "/", "\u0663", "²", "a b", "a,b", '"', "a\tb", "0x10", "1_0", "true"),
)


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """One value is another, or a key or item is dropped or doubled."""
    root = {"": json.loads(content)}
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        parent, key = rng.choice(_places(root, rng))
        change = rng.randrange(6)
        if change == 0:
            del parent[key]
            if not root:
                break
        elif change == 1 and isinstance(parent, list):
            parent.insert(rng.randrange(len(parent) + 1), parent[key])
        elif change == 1 and isinstance(parent, dict) and len(parent) > 1:
            parent[key] = parent[rng.choice(list(parent))]
        elif change in (2, 3) and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
            near = (-parent[key], parent[key] * 1000, parent[key] + 1, parent[key] + 0.5, str(parent[key]))
            parent[key] = rng.choice((*near, *NUMBERS))
        else:
            parent[key] = rng.choice(STRANGE)
    text = json.dumps(root.get("")).encode("utf-8", "surrogatepass")
    if rng.random() < 0.02:
        return b"[" * 100000 + text
    if rng.random() < 0.02:
        return text.replace(b": 1,", b": " + b"9" * 5000 + b",", 1)
    return text


def _places(root: Any, rng: random.Random) -> list[tuple[Any, Any]]:
    """Containers and keys, a random walk down: top levels are as likely as deep ones."""
    found = []
    for _ in range(8):
        value, depth = root, rng.randrange(1, 8)
        for _ in range(depth):
            keys = list(value) if isinstance(value, dict) else list(range(len(value)))
            if not keys:
                break
            key = rng.choice(keys)
            found.append((value, key))
            value = value[key]
            if not isinstance(value, dict | list):
                break
    return found[-1:] if found else [(root, "")]


def mutate_xml(content: bytes, rng: random.Random) -> bytes:
    root = ElementTree.fromstring(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        parents = [element for element in root.iter() if len(element)]
        if not parents:
            break
        parent = rng.choice(parents)
        place = rng.randrange(len(parent))
        change = rng.randrange(5)
        if change == 0:
            del parent[place]
        elif change == 1:
            parent.append(parent[place])
            break  # shared elements would be changed twice
        elif change == 2:
            parent[place].tag = rng.choice(("x", "name", "size", "bndbox", "xmin"))
        else:
            parent[place].text = rng.choice(STRANGE_TEXTS)
    encoding = rng.choice(("utf-8", "utf-8", "utf-16", "iso-8859-1", "us-ascii"))
    text = ElementTree.tostring(root, encoding)
    if rng.random() < 0.1:
        text = b"<?xml version='1.0' encoding='%s'?>" % rng.choice((b"klingon", b"utf-7", b"utf-32", b"zip")) + text
    if rng.random() < 0.05:
        entities = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 20) for n in range(1, 12))
        text = (
            b'<!DOCTYPE x [<!ENTITY a0 "ha">'
            + entities
            + b"]>"
            + ElementTree.tostring(root).replace(b"<filename>", b"<filename>&a11;")
        )
    return text


def mutate_lines(content: bytes, rng: random.Random) -> bytes:
    """Of CSV and lists: lines and their words."""
    lines = content.decode("utf-8", "replace").splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not lines:
            break
        place, change = rng.randrange(len(lines)), rng.randrange(6)
        separator = next((s for s in (",", "\t", " ") if s in lines[place]), " ")
        words = lines[place].split(separator)
        if change == 0:
            del lines[place]
        elif change == 1:
            lines.insert(rng.randrange(len(lines) + 1), lines[place])
        elif change == 2:
            del words[rng.randrange(len(words))]
            lines[place] = separator.join(words)
        elif change == 3:
            words.insert(rng.randrange(len(words) + 1), rng.choice(STRANGE_TEXTS))
            lines[place] = separator.join(words)
        else:
            words[rng.randrange(len(words))] = rng.choice((*STRANGE_TEXTS, "a\0b"))
            lines[place] = separator.join(words)
    text = rng.choice(("\n", "\n", "\r\n", "\r")).join(lines) + rng.choice(("\n", "", "\n\n\n"))
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig", "cp1252", "utf-16-be")), "replace")


def mutate_map(content: bytes, rng: random.Random) -> bytes:
    """A PNG of labels as another mode, size or with other ids."""
    image = Image.open(io.BytesIO(content))
    change = rng.randrange(4)
    if change == 0:
        return _saved(image.convert(rng.choice(("1", "L", "P", "RGB", "RGBA", "LA", "I", "I;16"))), "PNG")
    if change == 1:
        size = rng.choice(((1, 1), (image.height, image.width), (image.width + 1, image.height), (3000, 2)))
        return _saved(image.resize(size, Image.Resampling.NEAREST), "PNG")
    if change == 2:
        top = rng.choice((1, 2, 255, 2**15, 2**16 - 1))
        ids = np.random.default_rng(rng.randrange(2**32)).integers(0, top + 1, (48, 64))
        return _encoded(ids.astype(np.uint8 if top < 256 else np.uint16))
    ImageDraw.Draw(image).rectangle((3, 3, 12, 9), fill=rng.choice((0, 1, 7, 254, 255)))
    return _saved(image, "PNG")


def _saved(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def mutate_matrix(content: bytes, rng: random.Random) -> bytes:
    shape = rng.choice(((3, 14, 3), (14, 3, 3), (3, 14, 0), (3, 14), (2, 14, 3), (0, 0, 0), (14, 3, 1)))
    kind = rng.choice((float, np.int16, np.uint8, complex, "U3", object, bool))
    options = rng.choice(({}, {"do_compression": True}, {"format": "5"}))
    try:
        return _matrix(shape, kind, rng.choice(("joints", "joints", "joint")), **options)
    except (TypeError, ValueError):
        return b""


# Cases ----------------------------------------------------------------------------------------------------------------


def picture_case(number: int) -> Files:
    rng = random.Random(number)
    name, content = rng.choice(list(valid_pictures().items()))
    content = mutate_picture(content, rng)
    if rng.random() < 0.03:
        name = f"odd{rng.choice(list(valid_pictures()))}"
    return {name: content}


def annotation_case(number: int) -> tuple[str, Files]:
    """The name of a format, and a folder that was once of it."""
    rng = random.Random(number)
    layout, valid = rng.choice(list(valid_datasets().items()))
    files: Files = dict(valid)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        told = [name for name, content in files.items() if content is not None and not name.endswith(".png")]
        drawn = [name for name, content in files.items() if content is not None and name.endswith(".png")]
        names = told if told and (not drawn or rng.random() < 0.75) else drawn
        if names:
            _mutate_file(files, rng.choice(names), rng)
    return layout.split()[0], files


def _mutate_file(files: Files, name: str, rng: random.Random) -> None:
    content = files[name] or b""
    chance = rng.random()
    if chance < 0.05:
        _mutate_folder(files, name, rng)
        return
    changes: dict[str, Callable[[bytes, random.Random], bytes]] = {
        "json": mutate_json,
        "jsonl": _mutate_json_lines,
        "xml": mutate_xml,
        "png": mutate_map,
        "mat": mutate_matrix,
    }
    change = changes.get(name.rpartition(".")[2], mutate_lines)
    try:
        files[name] = mutate_bytes(content, rng) if chance < 0.2 else change(content, rng)
    except (ArithmeticError, ValueError, LookupError, OSError, SyntaxError, RecursionError):  # it was damaged before
        files[name] = mutate_bytes(content, rng)


def _mutate_json_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines() or [b""]
    place = rng.randrange(len(lines))
    lines[place] = mutate_json(lines[place], rng)
    return b"\n".join(lines)


def _mutate_folder(files: Files, name: str, rng: random.Random) -> None:
    """The file is gone, empty, a folder, elsewhere, or called otherwise."""
    content = files.pop(name)
    change = rng.randrange(5)
    folder, _, last = name.rpartition("/")
    if change == 0:
        files[name] = b""
    elif change == 1:
        files[name] = None
    elif change == 2:
        files[last if folder else f"train/{name}"] = content
    elif change == 3:
        odd = rng.choice((f"a b {last}", f"{last}.{last}", last.upper(), f"é{last}", f"._{last}"))
        files[f"{folder}/{odd}" if folder else odd] = content


def put(files: Files, folder: Path) -> None:
    """Write the files of a case."""
    for name, content in files.items():
        path = folder / name
        try:
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        except OSError:  # a folder where a file should be, by two changes
            continue


def make(kind: str, number: int, folder: Path) -> str:
    """Write case `number` to an empty folder; the format that it once had."""
    if kind == "pictures":
        put(picture_case(number), folder)
        return ""
    format, files = annotation_case(number)
    put(files, folder)
    return format


# Trials ---------------------------------------------------------------------------------------------------------------


def attempts(folder: Path, format: str, audited: bool = False) -> Iterator[Callable[[], object]]:
    """What a user could do with a case; each may raise VidereError, and nothing else.

    format: of the data set; "" where there are pictures alone. audited: run the audit, too, which takes longer.
    """
    if not format:
        for file in sorted(folder.rglob("*")):
            for read in (read_picture, read_ids, picture_size, exif_orientation):
                yield functools.partial(read, file)
        return
    names: list[str] = []
    yield lambda: names.append(data.find_format(folder))
    for name in {format, *names}:
        parts: list[str | None] = [None]
        yield lambda name=name, parts=parts: parts.extend(data.splits(folder, name))  # type: ignore[misc]
        for part in parts:
            sets: list[data.Dataset] = []
            yield lambda name=name, part=part, sets=sets: sets.append(data.read(folder, part, name))  # type: ignore[misc]
            for dataset in sets:
                yield dataset.repair_counts
                for i in range(len(dataset)):
                    yield functools.partial(dataset.size, i)
                    yield functools.partial(_rasterise, dataset, i)
                    yield functools.partial(dataset.picture, i)
                if audited and part is None:
                    yield functools.partial(audit.check, dataset, 1)


def _rasterise(dataset: data.Dataset, i: int) -> None:
    instances = dataset.scene(i).instances
    masks = None if instances is None else instances.masks
    if masks is not None:
        masks.bitmaps(), masks.boxes(), masks.area()


def attempt(folder: Path, format: str, audited: bool = False) -> None:
    """Everything in turn. Raises what is no VidereError, and MemoryError where that was behind one."""
    for step in attempts(folder, format, audited):
        try:
            step()
        except VidereError as error:
            behind: BaseException | None = error
            while behind is not None:
                if isinstance(behind, MemoryError):
                    raise behind from error
                behind = behind.__cause__ or behind.__context__


def empty(folder: Path) -> Path:
    """The folder, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
