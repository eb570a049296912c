"""Pictures in: every kind of file, orientation and array gives one upright RGB array."""

import io
import os
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps

from videre.errors import DataError, ShapeError
from videre.images.reading import (
    as_picture,
    decode_picture,
    exif_orientation,
    picture_paths,
    picture_size,
    pictures_in,
    read_ids,
    read_picture,
    write_picture,
)


@pytest.fixture
def colors() -> np.ndarray:
    """A smooth RGB picture of odd size whose channels differ."""
    rows, columns = np.mgrid[0:37, 0:53]
    return np.stack([rows * 6, columns * 4, 255 - rows * 3 - columns], 2).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_lossless_files_give_the_pixels_that_were_written(tmp_path, colors, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colors).save(path)
    assert np.array_equal(read_picture(path), colors)
    assert picture_size(path) == (37, 53)


def test_webp_lossless(tmp_path, colors):
    Image.fromarray(colors).save(tmp_path / "a.webp", lossless=True)
    assert np.array_equal(read_picture(tmp_path / "a.webp"), colors)


def test_jpeg_equals_pillow_within_rounding(tmp_path, colors):
    path = tmp_path / "a.jpg"
    Image.fromarray(colors).save(path, quality=90)
    assert np.abs(read_picture(path).astype(int) - np.asarray(Image.open(path))).max() <= 3


def test_grey_files_have_one_channel(tmp_path, colors):
    for suffix in ("jpg", "png", "tif"):
        Image.fromarray(colors[:, :, 0]).save(tmp_path / f"g.{suffix}")
        picture = read_picture(tmp_path / f"g.{suffix}")
        assert picture.shape == (37, 53, 1)
        assert np.abs(picture[:, :, 0].astype(int) - colors[:, :, 0]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_orientation_is_applied_as_pillow_does(tmp_path, colors, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    extra = {"jpg": {"quality": 95}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(colors).save(path, exif=exif, **extra)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    picture = read_picture(path)
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).max() <= 3
    assert picture_size(path) == expected.shape[:2]


def test_16_bit_png_and_tiff_keep_their_depth(tmp_path):
    deep = (np.arange(30 * 20 * 3).reshape(30, 20, 3) * 36).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep[:, :, ::-1])
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb")
    tifffile.imwrite(tmp_path / "g.tif", deep[:, :, 0])
    assert np.array_equal(read_picture(tmp_path / "a.png"), deep)
    assert np.array_equal(read_picture(tmp_path / "a.tif"), deep)
    assert np.array_equal(read_picture(tmp_path / "g.tif"), deep[:, :, :1])


def test_16_bit_tiff_with_lzw_compression(tmp_path):
    deep = (np.arange(30 * 20 * 3).reshape(30, 20, 3) * 36).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.tif"), deep[:, :, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert np.array_equal(read_picture(tmp_path / "a.tif"), deep)


def test_pages_and_planes_of_a_tiff_become_channels(tmp_path):
    stack = np.random.default_rng(0).integers(0, 65535, (5, 12, 9), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "pages.tif", stack, photometric="minisblack")
    assert np.array_equal(read_picture(tmp_path / "pages.tif"), stack.transpose(1, 2, 0))
    planes = stack[:3].astype(np.uint8)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_picture(tmp_path / "planes.tif"), planes.transpose(1, 2, 0))


def test_transparency_is_composited_on_white(tmp_path):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0, :, :3], rgba[0, :, 3] = (200, 100, 0), (0, 128, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    half = np.rint((np.array([200, 100, 0]) * 128 + 255 * 127) / 255)
    expected = np.array([[[255] * 3, half, [200, 100, 0]], [[255] * 3] * 3])
    assert np.array_equal(read_picture(tmp_path / "a.png"), expected)
    deep = rgba.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "b.png"), deep[:, :, [2, 1, 0, 3]])
    assert np.abs(read_picture(tmp_path / "b.png") / 257 - expected).max() < 0.51


def test_palette_gif_and_cmyk_become_rgb(tmp_path, colors):
    image = Image.fromarray(colors).quantize(16)
    image.save(tmp_path / "p.png")
    image.save(tmp_path / "p.gif")
    assert np.array_equal(read_picture(tmp_path / "p.png"), np.asarray(image.convert("RGB")))
    assert np.array_equal(read_picture(tmp_path / "p.gif"), np.asarray(image.convert("RGB")))
    Image.fromarray(colors).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    assert np.abs(read_picture(tmp_path / "c.jpg").astype(int) - colors).max() < 12


def test_one_bit_pictures(tmp_path):
    bits = np.eye(9, dtype=bool)
    Image.fromarray(bits).save(tmp_path / "b.png")
    assert np.array_equal(read_picture(tmp_path / "b.png")[:, :, 0], bits * 255)


def test_ids_stay_ids(tmp_path):
    ids = (np.arange(400).reshape(20, 20) * 100).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), ids)
    assert np.array_equal(read_ids(tmp_path / "a.png"), ids)
    palette = Image.fromarray((ids % 7).astype(np.uint8), "P")
    palette.putpalette(list(range(255, 0, -1)) * 3)
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_ids(tmp_path / "p.png"), ids % 7)
    Image.new("RGB", (3, 3)).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c\.png: a map of ids has one integer per pixel"):
        read_ids(tmp_path / "c.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3])
    with pytest.raises(DataError, match=rf"cut\.{suffix}: the picture"):
        read_picture(path)


def test_what_is_no_picture_is_an_error_that_says_so(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"<html>not found</html>")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg: not a picture \(it begins with b'<html>no'\)"):
        read_picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"b\.png: not a picture \(the file is empty\)"):
        read_picture(tmp_path / "b.png")
    for function in (read_picture, picture_size):
        with pytest.raises(DataError, match=r"none\.png: there is no such file"):
            function(tmp_path / "none.png")


def test_large_scientific_pictures_are_read(tmp_path, recwarn):
    """More pixels than Pillow's guard against bombs lets through."""
    height, width, limit = 13_000, 14_000, Image.MAX_IMAGE_PIXELS
    assert height * width > 2 * limit
    large = np.zeros((height, width), np.uint8)
    large[-1, -1] = 200
    path = tmp_path / "slide.png"
    path.write_bytes(cv2.imencode(".png", large, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
    assert picture_size(path) == (height, width)
    assert np.array_equal(read_picture(path)[:, :, 0], large) and np.array_equal(read_ids(path), large)
    assert limit == Image.MAX_IMAGE_PIXELS and not recwarn.list


@pytest.mark.parametrize("read", [read_picture, picture_size, read_ids])
def test_what_is_larger_still_is_refused_in_one_true_line(tmp_path, read):
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    header = struct.pack(">IIBBBBB", 40_000, 30_000, 8, 0, 0, 0, 0)
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    says = r"huge\.png: the picture is 40000x30000 \(width x height\), 1,200,000,000 pixels; at most 536,870,910 of 1 x 8 bit are read"
    with pytest.raises(DataError, match=f"^[^:]*{says}"):
        read(path)


def test_the_limit_can_be_moved(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setenv("VIDERE_MAX_PIXELS", "599")
    with pytest.raises(DataError, match=r"30x20 .* 600 pixels; at most 599 of 3 x 8 bit"):
        read_picture(tmp_path / "a.png")
    monkeypatch.setenv("VIDERE_MAX_PIXELS", "600")
    assert read_picture(tmp_path / "a.png").shape == (20, 30, 3)


def test_a_program_called_like_a_picture_is_not_run(tmp_path):
    """Pillow hands PostScript to Ghostscript, which executes it."""
    marks = tmp_path / "it-ran"
    script = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({marks}) (w) file closefile\nshowpage\n"
    (tmp_path / "a.jpg").write_text(script)
    for read in (read_picture, read_ids, picture_size):
        with pytest.raises(DataError, match=r"a\.jpg: not a picture \(the file is EPS\); known are \.jpg"):
            read(tmp_path / "a.jpg")
    assert not marks.exists()


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", Path("/dev/zero")):
        for read in (read_picture, read_ids, picture_size):
            with pytest.raises(DataError, match=rf"{path}: is a pipe, device or socket, not a file"):
                read(path)


def test_pages_of_a_tiff_that_follow_each_other_in_a_circle_are_refused(tmp_path):
    pages = [Image.fromarray(np.full((4, 4), k, np.uint8)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    data = bytearray((tmp_path / "a.tif").read_bytes())
    first = struct.unpack_from("<I", data, 4)[0]
    at = first
    while True:  # the link of the last page, which is 0
        link = at + 2 + 12 * struct.unpack_from("<H", data, at)[0]
        if struct.unpack_from("<I", data, link)[0] == 0:
            break
        at = struct.unpack_from("<I", data, link)[0]
    assert read_picture(tmp_path / "a.tif").shape == (4, 4, 3)
    struct.pack_into("<I", data, link, first)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(DataError, match="follow each other in a circle"):
        read_picture(tmp_path / "a.tif")


def test_equal_pages_of_a_tiff_are_all_kept(tmp_path):
    page = Image.fromarray(np.full((6, 5), 7, np.uint8))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page] * 39)
    assert read_picture(tmp_path / "a.tif").shape == (6, 5, 40)


def test_pages_of_other_shapes_are_not_dropped(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for side in (8, 6):
            file.write(np.zeros((side, side), np.uint8), contiguous=False)
    with pytest.raises(DataError, match=r"pages are of 2 shapes \(\(8, 8\), \(6, 6\)\)"):
        read_picture(tmp_path / "a.tif")


def test_a_jpeg_that_pillow_refuses_is_not_filled_in_by_another(tmp_path):
    random, refused = np.random.default_rng(0), 0
    Image.fromarray(random.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        data[int(random.integers(2, 620))] ^= 1 << int(random.integers(8))
        (tmp_path / "a.jpg").write_bytes(data)
        try:
            expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        except Exception:
            refused += 1
            with pytest.raises(DataError, match=r"a\.jpg: "):
                read_picture(tmp_path / "a.jpg")
        else:
            assert read_picture(tmp_path / "a.jpg").shape[:2] in (expected.shape[:2], expected.shape[1::-1])
    assert refused > 5


def test_ids_are_whole_numbers_from_0_on(tmp_path):
    large = np.array([[0, 2**31], [2**32 - 1, 3]], np.uint32)
    tifffile.imwrite(tmp_path / "a.tif", large)
    assert np.array_equal(read_ids(tmp_path / "a.tif"), large)
    tifffile.imwrite(tmp_path / "b.tif", np.array([[0, -4]], np.int16))
    with pytest.raises(DataError, match=r"b\.tif: a map of ids has whole numbers from 0 on, found -4"):
        read_ids(tmp_path / "b.tif")


def test_arrays_tensors_and_pillow_images_are_pictures(colors):
    assert np.array_equal(as_picture(colors), colors)
    assert np.array_equal(as_picture(colors[:, :, ::-1], order="bgr"), colors)
    assert np.array_equal(as_picture(torch.from_numpy(colors).permute(2, 0, 1)), colors)
    assert np.array_equal(as_picture(Image.fromarray(colors)), colors)
    assert as_picture(colors[:, :, 0]).shape == (37, 53, 1)
    assert np.array_equal(as_picture(colors / 255.0), colors.astype(np.uint16) * 257)
    assert as_picture(np.ones((2, 2, 4), np.uint8) * 7, order="bgra").tolist()[0][0] == [248] * 3


def test_arrays_that_are_no_pictures_are_refused(colors):
    with pytest.raises(ShapeError, match=r"found float64 from 0 to 255; divide floats"):
        as_picture(np.linspace(0, 255, 12).reshape(2, 2, 3))
    with pytest.raises(ShapeError, match=r"looks like \[C, H, W\]"):
        as_picture(colors.transpose(2, 0, 1))
    with pytest.raises(ShapeError, match="at least one pixel"):
        as_picture(np.zeros((0, 3, 3), np.uint8))
    with pytest.raises(ShapeError, match="int64"):
        as_picture(np.zeros((3, 3), np.int64))


def test_every_source_gives_names_and_pictures(tmp_path, colors):
    for name in ("b.png", "a.jpg", "deep/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        else:
            write_picture(tmp_path / name, colors)
    names = lambda *a, **k: [n.removeprefix(str(tmp_path) + "/") for n, _ in pictures_in(*a, **k)]
    assert names(tmp_path) == ["a.jpg", "b.png", "deep/c.png"]
    assert names(tmp_path, recursive=False) == ["a.jpg", "b.png"]
    assert names(str(tmp_path / "*.png")) == ["b.png"]
    assert names([tmp_path / "a.jpg", colors]) == ["a.jpg", "picture 1"]
    assert names(np.stack([colors, colors])) == ["picture 0", "picture 1"]
    for _, read in pictures_in(tmp_path):
        assert read().shape == colors.shape
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the folder holds no pictures"):
        picture_paths(tmp_path / "empty")
    with pytest.raises(DataError, match="no file matches"):
        picture_paths(tmp_path / "*.xyz")
    with pytest.raises(DataError, match="there is no such file or folder"):
        list(pictures_in(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("suffix", "dtype", "channels"),
    [
        ("png", np.uint8, 1),
        ("png", np.uint16, 3),
        ("tif", np.uint16, 5),
        ("tiff", np.uint8, 3),
        ("bmp", np.uint8, 3),
    ],
)
def test_written_pictures_come_back(tmp_path, suffix, dtype, channels):
    picture = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (7, 5, channels), dtype=dtype)
    write_picture(tmp_path / "new" / f"a.{suffix}", picture)
    assert np.array_equal(read_picture(tmp_path / "new" / f"a.{suffix}"), picture)


def test_formats_that_cannot_hold_a_picture_refuse(tmp_path):
    with pytest.raises(DataError, match=r"a\.jpg: \.jpg cannot hold 3 channels of 16 bit; \.png or \.tif can"):
        write_picture(tmp_path / "a.jpg", np.zeros((2, 2, 3), np.uint16))
    with pytest.raises(DataError, match=r"cannot hold 5 channels"):
        write_picture(tmp_path / "a.png", np.zeros((2, 2, 5), np.uint8))
    with pytest.raises(DataError, match=r"not written as \.docx"):
        write_picture(tmp_path / "a.docx", np.zeros((2, 2, 3), np.uint8))


def test_deep_pgm_keeps_its_16_bit(tmp_path):
    values = np.array([[0, 1, 256], [300, 65534, 65535]], ">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5\n3 2\n65535\n" + values.tobytes())
    picture = read_picture(tmp_path / "a.pgm")
    assert picture.dtype == np.uint16 and picture[:, :, 0].tolist() == values.tolist()


@pytest.mark.parametrize("name", ["a.ppm", "a.tga", "a.png"])
def test_of_a_damaged_header_the_orientation_is_1(tmp_path, name):
    (tmp_path / name).write_bytes(b"P6\n4\x01 3\n255\n")
    assert exif_orientation(tmp_path / name) == 1
    for read in (read_picture, read_ids, picture_size):
        with pytest.raises(DataError, match=re.escape(name)):
            read(tmp_path / name)


def test_a_header_that_wants_gigabytes_is_given_what_is_there(tmp_path):
    (tmp_path / "a.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + b"\xff\xff\xff\xf0jp2h" + bytes(99))
    with pytest.raises(DataError, match=r"a\.jp2"):
        picture_size(tmp_path / "a.jp2")


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"])
def test_decoders_print_nothing(tmp_path, capfd, compression):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        file, "tiff", compression=compression
    )
    whole, refused = file.getvalue(), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for place in rng.integers(len(data) - 300 if seed % 2 else 8, len(data), 6):  # the directory lies at the end
            data[place] = rng.integers(256)
        try:
            decode_picture(bytes(data), "a.tif")
        except DataError:
            refused += 1
    assert refused > 5 and capfd.readouterr().err == ""
