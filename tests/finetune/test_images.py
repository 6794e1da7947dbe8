"""Odd image files: right pixels, or an error of one line that names the file."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from qtt.data.image_folder import scan_image_folder
from qtt.errors import DatasetError
from qtt.finetune.cv.classification import extract_task_info_metafeat
from qtt.finetune.cv.classification.decoding import decode

RAMP: NDArray[np.uint8] = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)
COLOURS: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
SMOOTH: NDArray[np.uint8] = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=-1).repeat(8, 0).repeat(8, 1)


def _grey(path: Path) -> NDArray[np.uint8]:
    Image.fromarray(RAMP).save(path)
    return RAMP


def _grey_alpha(path: Path) -> NDArray[np.uint8]:
    Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]).save(path)
    return RAMP


def _grey_16(path: Path) -> NDArray[np.uint8]:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(path)
    return RAMP


def _rgb_16_png(path: Path) -> NDArray[np.uint8]:
    """By hand: Pillow writes no colours of 16 bits."""
    rows = COLOURS.astype(">u2") * 256 + 77
    content = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(content))
        + chunk(b"IEND", b"")
    )
    return COLOURS


def _rgb_16_tiff(path: Path) -> NDArray[np.uint8]:
    """By hand, little-endian and uncompressed: one directory, then what does not fit into it, then pixels."""
    pixels = (COLOURS.astype("<u2") * 256 + 77).tobytes()
    tags = [
        *((256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 8 + 2 + 10 * 12 + 4), (259, 3, 1, 1), (262, 3, 1, 2)),
        *((273, 4, 1, 140), (277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, len(pixels)), (284, 3, 1, 1)),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0) + struct.pack("<3H", 16, 16, 16)
    path.write_bytes(head + pixels)
    assert len(head) == 140
    return COLOURS


def _rgba(path: Path) -> NDArray[np.uint8]:
    Image.fromarray(np.dstack([COLOURS, RAMP])).save(path)
    return COLOURS


def _palette(path: Path) -> NDArray[np.uint8]:
    image = Image.fromarray(RAMP // 64)
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0, 77, 88, 99])
    image.convert("P").save(path)
    table = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 0], [77, 88, 99]], np.uint8)
    return table[RAMP // 64]


def _palette_transparent(path: Path) -> NDArray[np.uint8]:
    expected = _palette(path)
    with Image.open(path) as image:
        image.load()
    image.save(path, transparency=b"\x00\x80\xff\x40")
    return expected


def _palette_transparent_index(path: Path) -> NDArray[np.uint8]:
    expected = _palette(path)
    with Image.open(path) as image:
        image.load()
    image.save(path, transparency=2)
    return expected


def _one_bit(path: Path) -> NDArray[np.uint8]:
    Image.fromarray(RAMP > 99).save(path)
    return np.where(RAMP > 99, 255, 0).astype(np.uint8)


def _animated(path: Path) -> NDArray[np.uint8]:
    frames = [Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    return COLOURS


def _first_frame(path: Path) -> NDArray[np.uint8]:
    expected = _palette(path)
    with Image.open(path) as opened:
        image = opened.copy()
    image.save(path, save_all=True, append_images=[image.rotate(90), image.rotate(180)])
    return expected


EXACT = {
    "grey.png": _grey,
    "GREY.PNG": _grey,
    "grey.pgm": _grey,
    "grey_alpha.png": _grey_alpha,
    "grey_16.png": _grey_16,
    "grey_16.tif": _grey_16,
    "rgb_16.png": _rgb_16_png,
    "rgb_16.tiff": _rgb_16_tiff,
    "rgba.png": _rgba,
    "palette.png": _palette,
    "palette.bmp": _palette,
    "palette_transparent.png": _palette_transparent,
    "palette_index.png": _palette_transparent_index,
    "one_bit.png": _one_bit,
    "animated.webp": _animated,
    "animated.gif": _first_frame,
    "palette.gif": _palette,
    "transparent.gif": _palette_transparent_index,
    "name with spaces, ünï©ödé 梨 'quotes'.png": _grey,
    "n" * 250 + ".png": _grey,
}


@pytest.mark.parametrize("name", EXACT, ids=lambda name: name[:30].encode("ascii", "replace").decode())
def test_pixels_are_those_that_were_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    expected = EXACT[name](path)
    if expected.ndim == 2:
        expected = np.repeat(expected[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode(path, 8, "nearest"), expected)


def test_cmyk_jpegs_are_inverted_as_adobe_does(tmp_path: Path) -> None:
    inks = np.dstack([SMOOTH, SMOOTH[..., 0] // 2])
    Image.fromarray(inks, "CMYK").save(tmp_path / "cmyk.jpg", quality=100, subsampling=0)
    assert b"Adobe" in (tmp_path / "cmyk.jpg").read_bytes()[:100]
    light = (255 - inks.astype(float)) / 255
    expected = 255 * light[..., :3] * light[..., 3:]
    found = decode(tmp_path / "cmyk.jpg", 64, "nearest")
    assert np.abs(found - expected).max() < 16
    assert np.abs(found - expected).mean() < 2


_TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""How a camera stores an upright image for each value of EXIF's orientation (EXIF 2.3, 4.6.4 A)."""


@pytest.mark.parametrize("orientation", _TURNS)
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("size", [64, 16])
def test_photos_are_turned_upright(orientation: int, kind: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / f"photo.{kind}"
    stored = Image.fromarray(np.ascontiguousarray(_TURNS[orientation](SMOOTH)))
    if kind == "tiff":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274] = orientation
        stored.save(path, tiffinfo=tags)
    else:
        exif = Image.Exif()
        exif[274] = orientation
        options = {"quality": 100, "subsampling": 0} if kind == "jpg" else {"lossless": True}
        stored.save(path, exif=exif, **options)
    expected = SMOOTH.reshape(size, 64 // size, size, 64 // size, 3).mean((1, 3))
    found = decode(path, size, "bilinear").astype(float)  # the JPEG of 16 pixels comes through draft()
    assert np.abs(found - expected).mean() < 4
    np.testing.assert_allclose(found[[0, 0, -1], [0, -1, 0]], expected[[0, 0, -1], [0, -1, 0]], atol=24)


@pytest.mark.filterwarnings("ignore:.*[Cc]orrupt EXIF:UserWarning")  # Pillow's own words
def test_damaged_exif_costs_nothing(tmp_path: Path) -> None:
    for name, exif in (("short", b"Exif\0\0II*\0"), ("noise", b"Exif\0\0MM\0*\0\0\xff\xff" + b"\x07" * 40)):
        path = tmp_path / f"{name}.png"
        Image.fromarray(COLOURS).save(path, exif=exif)
        np.testing.assert_array_equal(decode(path, 8, "nearest"), COLOURS)


def test_extreme_shapes(tmp_path: Path) -> None:
    line = np.random.default_rng(0).integers(0, 256, (1, 1000, 3), dtype=np.uint8)
    for name, pixels in (("wide", line), ("tall", line.transpose(1, 0, 2)), ("dot", line[:, 500:501])):
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"{name}.png")
        found = decode(tmp_path / f"{name}.png", 8, "nearest")
        middle = {tuple(line[0, position]) for position in (499, 500)}
        assert {tuple(pixel) for pixel in found.reshape(-1, 3)} <= middle


def test_the_shorter_side_is_resized_and_the_middle_kept(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = (10, 200, 30)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        assert (decode(tmp_path / name, 10, "nearest") == (10, 200, 30)).all()


def test_filters_are_pillows(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "x.png")
    for name in ("nearest", "bilinear", "bicubic", "lanczos"):
        expected = Image.fromarray(SMOOTH).resize((24, 24), Image.Resampling[name.upper()])
        np.testing.assert_array_equal(decode(tmp_path / "x.png", 24, name), np.asarray(expected))


def _cut(path: Path) -> None:
    Image.fromarray(SMOOTH).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def _flipped(path: Path) -> None:
    Image.fromarray(COLOURS).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def _huge(path: Path) -> None:
    """A header that promises more pixels than any memory holds."""
    Image.fromarray(COLOURS).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 2**30, 2**30)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "empty.png": lambda path: path.write_bytes(b""),
    "empty.jpg": lambda path: path.write_bytes(b""),
    "text.jpg": lambda path: path.write_text("hello"),
    "page.png": lambda path: path.write_text("<html>404 not found</html>"),
    "cut.jpg": _cut,
    "cut.png": _cut,
    "cut.bmp": _cut,
    "cut.webp": _cut,
    "flipped.png": _flipped,
    "huge.png": _huge,
    "postscript.png": lambda path: Image.fromarray(COLOURS).save(path, "EPS"),
    "gone.png": lambda path: None,
    "folder.png": lambda path: path.mkdir(),
    "name with spaces 梨.png": lambda path: path.write_bytes(b"?"),
}


@pytest.mark.parametrize("name", DAMAGED, ids=lambda name: name.encode("ascii", "replace").decode())
def test_damaged_files_are_named_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    DAMAGED[name](path)
    with pytest.raises(DatasetError) as caught:
        decode(path, 8, "bicubic")
    message = str(caught.value)
    assert message.startswith(f"Image {path} cannot be read: ")
    assert message.endswith(". Repair or remove it.")
    assert "\n" not in message
    assert message.count(str(path)) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    _grey(tmp_path / "secret.png")
    (tmp_path / "secret.png").chmod(0)
    with pytest.raises(DatasetError, match=r"secret\.png cannot be read: Permission denied"):
        decode(tmp_path / "secret.png", 8, "bicubic")


def test_a_folder_of_all_of_them_is_described(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("one", "two"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number, write in enumerate(EXACT.values()):
                write(folder / f"{number}.png") if "16_tiff" not in write.__name__ else None
    folder = scan_image_folder(tmp_path)
    task, features = extract_task_info_metafeat(tmp_path)
    assert features.channels == 3
    assert features.image_size == task.image_size == 8
    assert features.train_images == len(folder.train)
