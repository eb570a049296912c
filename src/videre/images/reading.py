"""Pictures from files, arrays and folders: one reader for training, evaluation and prediction.

A `picture` is an array [H, W, C], uint8 or uint16 as stored, C = 1 (grey) or 3 (RGB), more for scientific TIFF. It is
always upright (EXIF orientation applied) and always RGB. Transparency is composited on white. Colour profiles are not
applied.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import io
import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from videre.errors import DataError, ShapeError
from videre.files import check_regular, read_bytes, write_atomic
from videre.images.listing import SUFFIXES, list_pictures, natural
from videre.images.silence import silent, silent_opencv

DECODERS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "AVIF", "PPM", "MPO")
"""Formats, by Pillow's names, that are read; TGA, which cannot be told by its content, where the name says so. Others that
Pillow knows start programs of their own (PostScript), or are no pictures."""

MAX_PIXELS = 2**29 // 3
"""Largest picture of 3 x 8 bit that is read; of one channel three times, of 16 bit half as many. $VIDERE_MAX_PIXELS is
another number. Pillow calls more a decompression bomb: a file of some hundred bytes can ask for all memory."""

COPIES = {"WEBP": 3, "AVIF": 3, "JPEG2000": 2}
"""How many times over a decoder holds the picture while it works; 1 where not named."""

Order = Literal["rgb", "bgr", "rgba", "bgra"]

# Reading ----------------------------------------------------------------------------------------------------------------


def read_picture(path: str | Path) -> np.ndarray:
    """Read one picture file, of a kind that DECODERS names.

    Returns:
        uint8 or uint16 [H, W, C], RGB, upright; C = 1 for grey files. Pages or bands of a TIFF become channels; of an
        animation it is the first picture.

    Raises:
        DataError: the file is missing, not a picture, damaged, larger than MAX_PIXELS, or of a kind that does not fit 8
        or 16 bit.
    """
    return decode_picture(read_bytes(path), path)


@silent()
def decode_picture(data: bytes, path: str | Path) -> np.ndarray:
    """`read_picture` of bytes that are at hand; path: what messages call them."""
    try:
        with _open(io.BytesIO(data), path) as header:
            return np.ascontiguousarray(_decode(data, header))
    except UnidentifiedImageError:
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):  # kinds of TIFF that Pillow does not know
            return _guarded(path, lambda: np.ascontiguousarray(_decode_tiff(data)))
        raise DataError(f"{path}: {_what_else(data)}") from None
    except (DataError, ShapeError) as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        raise DataError(f"{path}: the picture is damaged ({error})") from error


@silent()
def read_ids(path: str | Path) -> np.ndarray:
    """Read a picture whose values are ids (instances, classes), not colours: palette indices stay indices.

    Returns:
        integer [H, W]. Raises DataError when the file has colours.
    """
    data = read_bytes(path)
    try:
        with _open(io.BytesIO(data), path) as header:
            if header.format == "TIFF" and header.mode not in ("1", "L", "P", "I;16"):
                ids, axes, _ = _tiff_array(data)
                ids = ids.squeeze(tuple(i for i, axis in enumerate(axes) if axis not in "YX" and ids.shape[i] == 1))
            elif _is_deep_png(data, header):
                ids = _decode_deep_png(data, header)
            else:
                ids = np.asarray(header)
    except UnidentifiedImageError:
        raise DataError(f"{path}: {_what_else(data)}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:
        raise DataError(f"{path}: no map of ids could be read ({error})") from error
    if ids.ndim != 2 or ids.dtype.kind not in "uib" or 0 in ids.shape:
        raise DataError(f"{path}: a map of ids has one integer per pixel, found {ids.dtype} {ids.shape}")
    if ids.dtype.kind == "b":
        return ids.astype(np.uint8)
    if ids.dtype.kind == "i" and ids.min() < 0:
        raise DataError(f"{path}: a map of ids has whole numbers from 0 on, found {ids.min()}")
    return ids.astype(ids.dtype.newbyteorder("="), copy=False)


def has_colors(path: str | Path) -> bool:
    """Whether a file stores colours, not one number or palette index for each pixel. Raises DataError where it is none."""
    check_regular(path)
    try:
        with _header(path) as header:
            return header.mode not in ("1", "L", "P", "I", "I;16", "F")
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception:
        return read_picture(path).shape[2] > 1  # rare kinds; raises the message that fits


def picture_size(path: str | Path) -> tuple[int, int]:
    """Height and width of the upright picture, from the header alone."""
    check_regular(path)
    try:
        with _header(path) as header:
            width, height = header.size
            turned = header.format != "TIFF" and _orientation(header, path) >= 5  # Pillow turns TIFF itself
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception:
        return read_picture(path).shape[:2]  # rare kinds; raises the message that fits
    return (width, height) if turned else (height, width)


def decoded_size(data: bytes, path: str | Path) -> tuple[int, int]:
    """`picture_size` of bytes that are at hand; path: what messages call them."""
    try:
        with _open(io.BytesIO(data), path) as header:
            width, height = header.size
            turned = header.format != "TIFF" and _orientation(header, data) >= 5
    except Exception:
        return decode_picture(data, path).shape[:2]  # rare kinds; raises the message that fits
    return (width, height) if turned else (height, width)


def exif_orientation(path: str | Path) -> int:
    """How the pixels lie in the file, EXIF's 1..8; 1 is upright. `read_picture` has turned them already."""
    try:
        check_regular(path)
        with _header(path) as header:
            return _orientation(header, path)
    except Exception:  # whatever a decoder says of a damaged header: `read_picture` raises what fits
        return 1


def as_picture(value: Any, order: Order = "rgb") -> np.ndarray:
    """A picture from what people hold in their hands.

    Args:
        value: array [H, W] or [H, W, C], uint8, uint16, bool, or float in [0, 1] (kept as uint16); tensor [C, H, W] or
            [H, W] of the same kinds; Pillow image; path.
        order: what the last axis of an array is (the first of a tensor); with "rgba" and "bgra" the picture is
            composited on white.

    Raises:
        ShapeError: another shape, type or range.
    """
    if isinstance(value, str | Path):
        return read_picture(value)
    if isinstance(value, Image.Image):
        return _from_pillow(_upright_pillow(value))
    if hasattr(value, "detach"):  # a torch tensor, without importing torch for it
        value = value.detach().cpu().numpy()
        value = np.moveaxis(value, 0, -1) if value.ndim == 3 else value
    elif isinstance(value, np.ndarray) and value.ndim == 3 and value.shape[0] in (1, 3) and value.shape[2] > 16:
        raise ShapeError(f"array {value.shape} looks like [C, H, W]; pictures are [H, W, C] (tensors are [C, H, W])")
    picture = np.asarray(value)
    picture = picture[:, :, None] if picture.ndim == 2 else picture
    if picture.ndim != 3 or 0 in picture.shape:
        raise ShapeError(f"a picture is [H, W] or [H, W, C] with at least one pixel, found shape {picture.shape}")
    if order not in ("rgb", "bgr", "rgba", "bgra"):
        raise ShapeError(f"order must be rgb, bgr, rgba or bgra, found {order!r}")
    if picture.shape[2] > 1 and order != "rgb":
        if picture.shape[2] != len(order):
            raise ShapeError(f"order {order!r} needs {len(order)} channels, the array has shape {picture.shape}")
        picture = picture[:, :, [order.index(c) for c in "rgba"[: len(order)]]]
    picture = _as_integers(picture)
    return np.ascontiguousarray(_on_white(picture) if order in ("rgba", "bgra") and picture.shape[2] == 4 else picture)


def pictures_in(
    source: Any, recursive: bool = True, order: Order = "rgb"
) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Every picture of a source, as (name, function that reads it), in sorted order.

    Args:
        source: a file, a folder, a glob pattern ("shots/*.png"), an array, tensor or Pillow image, an array of
            pictures [B, H, W, C], or a list of any of these.
        recursive: look through sub-folders too. order: as in `as_picture`, for arrays.

    Raises:
        DataError: nothing is there, or a folder holds no picture.
    """
    if isinstance(source, str | Path):
        for path in picture_paths(source, recursive):
            yield str(path), functools.partial(read_picture, path)
    elif isinstance(source, Image.Image) or (hasattr(source, "shape") and len(source.shape) < 4):
        yield "picture 0", functools.partial(as_picture, source, order)
    elif isinstance(source, Iterable):
        for number, item in enumerate(source):
            for name, read in pictures_in(item, recursive, order):
                yield (f"picture {number}" if name == "picture 0" else name), read
    else:
        raise DataError(
            f"pictures come from a path, glob, array, tensor, Pillow image or a list of these; "
            f"found {type(source).__name__}"
        )


def picture_paths(source: str | Path, recursive: bool = True) -> list[Path]:
    """The picture files that a file, folder or glob pattern names, sorted. Raises DataError when there are none."""
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        paths = list_pictures(path, recursive)
        if not paths:
            raise DataError(f"{path}: the folder holds no pictures ({', '.join(SUFFIXES)})")
        return paths
    if glob.has_magic(str(source)):
        paths = sorted((p for p in map(Path, glob.glob(str(source), recursive=True)) if p.is_file()), key=natural)
        if not paths:
            raise DataError(f"{source}: no file matches")
        return paths
    raise DataError(f"{source}: there is no such file or folder")


# Writing ----------------------------------------------------------------------------------------------------------------


def write_picture(path: str | Path, picture: np.ndarray, quality: int = 95) -> None:
    """Write a picture; the suffix decides the format. Folders are made.

    Args:
        picture: uint8 or uint16 [H, W, C] RGB or grey, or anything that `as_picture` takes.
        quality: of JPEG and WebP, 1..100.

    Raises:
        DataError: the format cannot hold the picture (16 bit or many channels), or the file cannot be written.
    """
    path, picture = Path(path), as_picture(picture)
    kind, channels, bits = path.suffix.lower(), picture.shape[2], picture.dtype.itemsize * 8
    if kind in (".tif", ".tiff"):
        deep, wide = True, True
    else:
        deep, wide = kind == ".png", False
    if (bits == 16 and not deep) or (channels not in (1, 3) and not wide):
        raise DataError(
            f"{path}: {kind or 'this format'} cannot hold {channels} channels of {bits} bit; "
            f"{'.png or .tif' if channels in (1, 3) else '.tif'} can"
        )
    if wide:
        import tifffile

        plain = picture[:, :, 0] if channels == 1 else picture
        memory = io.BytesIO()
        tifffile.imwrite(
            memory,
            plain,
            photometric="rgb" if channels == 3 else "minisblack",
            compression="zlib",
            planarconfig="contig" if channels > 1 else None,
        )
        write_atomic(path, memory.getvalue())
        return
    flags = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".jpeg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}
    options = [flags[kind], quality] if kind in flags else []
    try:
        done, data = cv2.imencode(kind, picture[:, :, ::-1] if channels == 3 else picture, options)
    except cv2.error as error:
        raise DataError(f"{path}: pictures are not written as {kind or 'files without suffix'} ({error.err})") from None
    if not done:
        raise DataError(f"{path}: the picture could not be encoded")
    write_atomic(path, data.tobytes())


# Decoding ---------------------------------------------------------------------------------------------------------------


_opening = threading.Lock()


class _File(io.BufferedReader):
    """A file that is asked for no more bytes than it has: damaged headers want gigabytes, for which Python makes room."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(io.FileIO(path))
        self._length = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(-1 if size is None else min(size, self._length))


@contextlib.contextmanager
def _header(path: str | Path) -> Iterator[Image.Image]:
    """What Pillow makes of the header, without reading the rest. Raises as `_open`."""
    with _File(path) as file, _open(file, path) as header:
        yield header


@silent()
def _open(source: BinaryIO, path: str | Path) -> Image.Image:
    """Read the header with Pillow. Raises DataError when the picture is larger than is read.

    Pillow's own limit is a global of the process, so that it is set aside for the moment of opening only, by one thread
    at a time. path: what the file is called.
    """
    formats = (*DECODERS, "TGA") if Path(path).suffix.lower() == ".tga" else DECODERS
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            Image.preinit()
            if not set(formats) <= set(Image.OPEN):
                Image.init()
            known = [name for name in formats if name in Image.OPEN]  # AVIF is not in every Pillow
            header = Image.open(source, formats=known)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    try:
        depth = 2 if header.mode.startswith("I;16") else 4 if header.mode in ("I", "F") else 1
        _check_room(header.size, len(header.getbands()), depth, COPIES.get(header.format or "", 1))
    except DataError:
        header.close()
        raise
    return header


def most_pixels() -> int:
    """Of the largest picture that is read: grey, of 8 bit."""
    stated = os.environ.get("VIDERE_MAX_PIXELS", "")
    return 3 * (int(stated) if stated.isdecimal() else MAX_PIXELS)


def _check_room(size: tuple[int, int], channels: int, depth: int, copies: int = 1) -> None:
    """DataError when a picture of (width, height) and `depth` bytes a number is larger than is read."""
    width, height = size
    most = most_pixels() // (channels * depth * copies)
    if width * height > most:
        raise DataError(
            f"the picture is {width}x{height} (width x height), {width * height:,} pixels; at most {most:,} of "
            f"{channels} x {8 * depth} bit are read: cut it into tiles, make it smaller, or set VIDERE_MAX_PIXELS"
        )


def _what_else(data: bytes) -> str:
    """What a file is that is no picture of DECODERS, as far as its first bytes tell."""
    if not data:
        return "not a picture (the file is empty)"
    Image.init()
    start = data[:16].ljust(16, b"\0")  # some look at fixed places
    names = [name for name, (_, accept) in Image.OPEN.items() if accept is not None and accept(start) is True]
    kind = f"the file is {names[0]}" if names and names[0] not in DECODERS else f"it begins with {data[:8]!r}"
    return f"not a picture ({kind}); known are {', '.join(SUFFIXES)}"


def _guarded(path: str | Path, decode: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return decode()
    except Exception as error:
        raise DataError(f"{path}: the picture could not be decoded ({error})") from error


def _decode(data: bytes, header: Any) -> np.ndarray:
    """By Pillow, which raises where bytes are missing; by others what it would bring to 8 bit."""
    if header.format == "TIFF":
        modes = ("1", "L", "P", "RGB", "RGBA", "CMYK", "LA")
        shallow = max(header.tag_v2.get(258, (1,))) <= 8  # bits per sample: Pillow calls 16 bit RGB "RGB" too
        plain = shallow and header.mode in modes and _count_pages(data) == 1
        return _from_pillow(header) if plain else _decode_tiff(data)
    orientation = _orientation(header, data)
    if _is_deep_png(data, header):
        picture = _decode_deep_png(data, header)
        picture = picture[:, :, None] if picture.ndim == 2 else picture
        return _turn(_on_white(picture) if picture.shape[2] == 4 else picture, orientation)
    return _turn(_from_pillow(header), orientation)


def _is_deep_png(data: bytes, header: Any) -> bool:
    """Whether it has 16 bit and more than one channel, of which Pillow keeps 8."""
    return header.format == "PNG" and data[24:25] == b"\x10" and data[25:26] != b"\0"


def _decode_deep_png(data: bytes, header: Any) -> np.ndarray:
    """uint16 [H, W, C], RGB or RGBA."""
    _check_room(header.size, len(header.getbands()), 2)
    header.verify()  # OpenCV fills what is missing and says nothing
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise DataError("the picture is damaged")
    if picture.ndim == 2:
        return picture
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB if picture.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _decode_tiff(data: bytes) -> np.ndarray:
    """16 bit, several pages or planes: pages and bands become channels."""
    picture, axes, page = _tiff_array(data)
    orientation = int(page.tags["Orientation"].value) if "Orientation" in page.tags else 1
    inverted, alpha = page.photometric == 0, bool(page.extrasamples) and page.photometric == 2
    if axes.count("Y") != 1 or axes.count("X") != 1:
        raise DataError(f"TIFF with axes {axes!r}: no single picture of rows and columns")
    rest = [i for i, axis in enumerate(axes) if axis not in "YX"]
    picture = picture.transpose([axes.index("Y"), axes.index("X"), *rest])
    picture = _as_integers(picture.reshape(*picture.shape[:2], -1))
    picture = np.iinfo(picture.dtype).max - picture if inverted else picture
    return _turn(_on_white(picture) if alpha and picture.shape[2] == 4 else picture, orientation)


def _tiff_array(data: bytes) -> tuple[np.ndarray, str, Any]:
    """The numbers of a TIFF, the names of their axes, and its first page.

    Raises DataError where it holds pictures that do not fit one array, or more than is read.
    """
    import tifffile

    _count_pages(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        series, page = file.series[0], file.pages.first
        apart = [s for s in file.series[1:] if not all(_is_reduced(p) for p in s.pages)]
        if apart:
            raise DataError(
                f"a TIFF whose pages are of {len(apart) + 1} shapes ({series.shape}, {apart[0].shape}): they cannot be "
                "channels of one picture; save them as files"
            )
        _check_room((series.size // max(series.shape[0], 1), max(series.shape[0], 1)), 1, series.dtype.itemsize)
        try:
            return series.asarray(), series.axes, page
        except (ValueError, ImportError):  # a compression for which tifffile wants another package
            with silent_opencv():
                done, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            if not done or len(pages) == 0:
                raise
        picture = pages[0] if len(pages) == 1 else np.stack(pages)
        if len(pages) == 1 and picture.ndim == 3 and picture.shape[2] >= 3:  # BGR, as OpenCV has it
            picture = picture[..., [2, 1, 0, *range(3, picture.shape[2])]]
        return picture, {2: "YX", 3: "YXS" if len(pages) == 1 else "QYX"}.get(picture.ndim, ""), page


def _is_reduced(page: Any) -> bool:
    """Whether a page of a TIFF is a smaller copy of another."""
    return page is None or bool(getattr(page.keyframe, "is_reduced", False))


def _count_pages(data: bytes) -> int:
    """Pages of a TIFF, or BigTIFF, by the chain of their directories; DataError where it runs in a circle."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    seen: set[int] = set()
    while at:
        if at in seen:
            raise DataError("the pages of the TIFF follow each other in a circle")
        seen.add(at)
        try:
            entries = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
            at += 8 + 20 * entries if big else 2 + 12 * entries
            at = struct.unpack_from(order + ("Q" if big else "I"), data, at)[0]
        except struct.error:  # the file ends before
            break
    return len(seen)


def _from_pillow(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[:, :, None]
    if image.mode == "I" and image.format == "PPM":  # Pillow brings more than 8 bit to 16
        return np.asarray(image).astype(np.uint16)[:, :, None]
    if image.mode in ("I", "F"):
        return _as_integers(np.asarray(image)[:, :, None])
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(np.asarray(image.convert("RGBA")))
    kind = "L" if image.mode in ("1", "L") else "RGB"
    array = np.asarray(
        image if image.mode == kind else image.convert(kind)
    )  # which would copy even what is of the kind
    return array[:, :, None] if array.ndim == 2 else array


def _as_integers(picture: np.ndarray) -> np.ndarray:
    """uint8 and uint16 as they are; bool as 0 and 255; float in [0, 1] as uint16, so that little is lost."""
    if picture.dtype in (np.uint8, np.uint16):
        return picture.astype(picture.dtype.newbyteorder("="), copy=False)
    if picture.dtype == np.bool_:
        return picture.astype(np.uint8) * np.uint8(255)
    low, high = (picture.min(), picture.max()) if picture.size else (0, 0)
    if picture.dtype.kind == "f" and low >= 0 and high <= 1:  # NaN fails both
        return np.rint(picture.astype(np.float32) * np.float32(65535)).astype(np.uint16)
    hint = "divide floats so that they lie in [0, 1]" if picture.dtype.kind == "f" else "convert to uint8 or uint16"
    raise ShapeError(
        f"a picture is uint8, uint16 or float in [0, 1]; found {picture.dtype} from {low:.6g} to {high:.6g}; {hint}"
    )


STRIP = 2**20
"""Pixels that are composited at once: the numbers between need four times the room."""


def _on_white(picture: np.ndarray) -> np.ndarray:
    """RGBA to RGB on a white ground."""
    top = int(np.iinfo(picture.dtype).max)
    done = np.empty((*picture.shape[:2], 3), picture.dtype)
    rows = max(1, STRIP // max(picture.shape[1], 1))
    for first in range(0, len(picture), rows):
        strip = picture[first : first + rows].astype(np.uint32)
        color, alpha = strip[:, :, :3], strip[:, :, 3:]
        # 65535 * 65535 and the rounding half still fit 32 bits
        done[first : first + rows] = (color * alpha + top * (top - alpha) + top // 2) // top
    return done


# Orientation ------------------------------------------------------------------------------------------------------------

_ORIENTATION_TAG = 0x0112


def _orientation(header: Image.Image, data: bytes | str | Path) -> int:
    """EXIF orientation 1..8. A PNG may carry it behind its pixels, so that its bytes are searched first."""
    if header.format == "PNG" and "exif" not in header.info:
        data = data if isinstance(data, bytes) else read_bytes(data)
        if b"eXIf" not in data:
            return 1  # getexif would decode the whole picture to find out
    try:
        value = int(header.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block is no reason to lose the picture
        return 1
    return value if 1 <= value <= 8 else 1


def _upright_pillow(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _turn(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels upright, [H, W] or [H, W, C] to [H, W, C]."""
    picture = picture[:, :, None] if picture.ndim == 2 else picture
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
    return np.flip(picture, flips[orientation]) if orientation in flips else picture
