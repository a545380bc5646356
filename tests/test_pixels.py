"""Pixels of every format and depth: right by another decoder or by arithmetic, or refused in a sentence."""

import base64
import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from bench import images
from bench.errors import ImageError
from bench.interfaces import NATIVE, Alpha, Preprocess
from tests import crafted

Array = NDArray[Any]

WIDTH, HEIGHT = 24, 20
SHADES = np.add.outer(5.0 * np.arange(HEIGHT), 4.0 * np.arange(WIDTH))
SHADES /= SHADES.max()
FOUR = np.stack([SHADES, SHADES[::-1], SHADES[:, ::-1], SHADES[::-1, ::-1]], -1)
RGB = np.rint(255 * FOUR[..., :3]).astype(np.uint8)
GREY = np.rint(255 * SHADES).astype(np.uint8)

#: 4 x 4 greys (i + j) / 6 of 12 bits, and colours of them, flipped by columns and by rows; 2 x 2 greys of 16 pixels
#: in a lossless JPEG. No encoder among the project's packages writes these.
JPEG_2000 = base64.b64decode(
    "/0//UQApAAAAAAAEAAAABAAAAAAAAAAAAAAABAAAAAQAAAAAAAAAAAABCwEB/1IADAAAAAEAAAQEAAH/XAAEQGD/ZAAlAAFDcmVhdGVkIGJ5IE"
    "9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAAAnAAH/k9/gWBIPpQ6M64Hza1qhtMy0ONAjJzotoQ//2Q=="
)
AVIF = base64.b64decode(
    "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAOttZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAA5waXRtAA"
    "AAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAQ8AAABEAAAAKGlpbmYAAAAAAAEAAAAaaW5mZQIAAAAAAQAAYXYwMUNvbG9yAAAAAGppcHJw"
    "AAAAS2lwY28AAAAUaXNwZQAAAAAAAAAEAAAABAAAABBwaXhpAAAAAAMMDAwAAAAMYXYxQ4FAYAAAAAATY29scm5jbHgAAgACAACAAAAAF2lwbW"
    "EAAAAAAAAAAQABBAECgwQAAABMbWRhdBIACghYBH+NAgIAiDI2EAAA/hUiyVGWyFOv8A+nggffgBze28JPaXI/1Nutggd+dfjTFH/kZjXhNNo5"
    "h1Xav8Mg+XCu"
)
LOSSLESS = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALCAAgACABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAAcI/9oACAEBAAEAAM/gACoAAAAAKgAAAAAqAA"
    "AAACoAAAAAKgAAAAAqAAAAACoAAAAAKgAAAAAqAAAAACoAAAAAKgAAAAAqAAAAACoAAAAAKgAAAAAqAAAAACoAADUAAAr4AAAACvgAAAAK+AAA"
    "AAr4AAAACvgAAAAK+AAAAAr4AAAACvgAAAAK+AAAAAr4AAAACvgAAAAK+AAAAAr4AAAACvgAAAAK+AAAAAr4AA//2Q=="
)


def read(path: Path, **changed: Any) -> Array:
    return np.asarray(images.decode(path, preprocess=replace(NATIVE, **changed))).astype(int)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def grey(values: Array) -> Array:
    """Greys as three channels."""
    return np.repeat(np.asarray(values)[..., None], 3, axis=-1)


def on_white(colours: Array, alpha: Array) -> Array:
    """Colours and alpha from 0 to 255 on white."""
    share = np.asarray(alpha, float)[..., None] / 255
    return colours * share + 255 * (1 - share)


def assert_near(found: Array, expected: Array, tolerance: float = 0) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_plain_files_are_what_pillow_makes_of_them(name: str, orientation: int, photo: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(photo).convert("RGB").save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert np.array_equal(np.asarray(images.decode(tmp_path / name)), expected)


DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")
#: What is read; every other one is refused.
READ = {
    ("minisblack", 1): {"uint8", "uint16", "float32"},
    ("miniswhite", 1): {"uint8", "uint16", "float32"},
    ("rgb", 3): {"uint8", "uint16"},
    ("rgb", 4): {"uint8", "uint16"},
    ("separated", 4): {"uint8", "uint16"},
}


def samples(dtype: str, channels: int) -> Array:
    """The shades as samples of a type: [H, W], or [H, W, channels]."""
    kind, values = np.dtype(dtype), FOUR[..., :channels] if channels > 1 else SHADES
    return values.astype(kind) if kind.kind == "f" else (values * np.iinfo(kind).max).astype(kind)


def eight_bits(values: Array) -> Array:
    if values.dtype.kind == "f":
        return np.rint(255 * values.astype(float))
    return (values >> (8 * values.dtype.itemsize - 8)).astype(float)


def seen(values: Array, photometric: str, extra: str | None) -> Array:
    """What samples of 8 bits look like on white."""
    if photometric in ("minisblack", "miniswhite"):
        return grey(values if photometric == "minisblack" else 255 - values)
    if photometric == "separated":
        return (255 - values[..., :3]) * (255 - values[..., 3:]) / 255
    colours = values[..., :3]
    if extra == "unassalpha":
        return on_white(colours, values[..., 3])
    if extra == "assocalpha":
        return np.minimum(colours, values[..., 3:]) + 255 - values[..., 3:]
    return colours


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("photometric", "channels", "extra"),
    [
        ("minisblack", 1, None),
        ("miniswhite", 1, None),
        ("rgb", 3, None),
        ("rgb", 4, "unspecified"),
        ("rgb", 4, "assocalpha"),
        ("rgb", 4, "unassalpha"),
        ("separated", 4, None),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_tiff_samples_of_any_type_and_layout(
    dtype: str, photometric: str, channels: int, extra: str | None, order: Any, tmp_path: Path
) -> None:
    values, path = samples(dtype, channels), tmp_path / "a.tif"
    for plane in ["contig", "separate"] if channels > 1 else ["contig"]:
        for compression, predictor in [(None, False), ("zlib", False), ("zlib", np.dtype(dtype).kind != "f")]:
            for tile in (None, (16, 16)):
                tifffile.imwrite(
                    path,
                    np.moveaxis(values, -1, 0) if plane == "separate" else values,
                    byteorder=order,
                    photometric=photometric,
                    planarconfig=plane if channels > 1 else None,
                    compression=compression,
                    predictor=predictor,
                    tile=tile,
                    extrasamples=[extra] if extra else None,
                )
                try:
                    found = read(path)
                except ImageError as error:
                    assert str(path) in str(error) and "\n" not in str(error)
                    assert (
                        dtype not in READ[photometric, channels]
                        or (dtype, photometric, order)
                        == (
                            *("uint16", "miniswhite"),
                            ">",
                        )
                        or (dtype, extra, plane, compression) == ("uint8", "unspecified", "separate", None)
                    )
                    continue
                assert dtype in READ[photometric, channels]
                exact = channels == 1 or extra == "unspecified" or (photometric, channels) == ("rgb", 3)
                assert_near(found, seen(eight_bits(values), photometric, extra), 0 if exact else 1.01)


@pytest.mark.parametrize("alpha", ["unspecified", "assocalpha", "unassalpha"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_greys_with_alpha(alpha: str, compression: str | None, tmp_path: Path) -> None:
    values, path = np.rint(255 * FOUR[..., :2]).astype(np.uint8), tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="minisblack", extrasamples=[alpha], compression=compression)
    colours, share = values[..., 0], values[..., 1]
    expected = {
        "unspecified": grey(colours),
        "assocalpha": grey(np.minimum(colours, share) + (255 - share)),
        "unassalpha": on_white(grey(colours), share),
    }[alpha]
    assert_near(read(path), expected, 1.01)
    planes = np.moveaxis(values, -1, 0)
    tifffile.imwrite(path, planes, photometric="minisblack", extrasamples=[alpha], planarconfig="separate")
    if alpha != "unspecified":
        with pytest.raises(ImageError, match="its alpha is stored apart"):
            read(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_tiff_greys_of_other_bits(bits: int, photometric: str, tmp_path: Path) -> None:
    most = 2**bits - 1
    values = np.rint(SHADES * most).astype(np.uint8 if bits < 8 else np.uint16)
    unpacked = np.unpackbits(values.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 16 - bits :]
    data = np.packbits(unpacked.reshape(HEIGHT, -1), axis=1).tobytes()
    changed: dict[str, Any] = {"t258": ("H", [bits]), "t262": ("H", [int(photometric == "minisblack")])}
    changed["t279"] = ("I", [len(data)])
    written(tmp_path / "a.tif", crafted.tiff(crafted.tiff_tags(WIDTH, HEIGHT, **changed), data))
    expected = np.rint(255 * (values / most)) if bits < 8 else values >> 4
    if (bits, photometric) == (12, "miniswhite"):
        with pytest.raises(ImageError, match=r"bits of the samples: 12, as unsigned integers.*: convert it to 8 or 16"):
            read(tmp_path / "a.tif")
    else:
        assert_near(read(tmp_path / "a.tif"), grey(expected if photometric == "minisblack" else 255 - expected))


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("scale", [1, 257])
@pytest.mark.parametrize("order", "<>")
def test_tiff_palettes_of_8_and_16_bits(bits: int, scale: int, order: str, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 2**bits))
    colours[0, 0] = 255  # not all of them are so small that the palette's own depth is in doubt
    index = np.arange(16 * 8).reshape(8, 16) % 2**bits
    data = b"".join(crafted.packed(index, bits))
    changed: dict[str, Any] = {"t258": ("H", [bits]), "t262": ("H", [3])}
    changed |= {"t279": ("I", [len(data)]), "t320": ("H", (colours * scale).ravel().tolist())}
    path = written(tmp_path / "a.tif", crafted.tiff(crafted.tiff_tags(16, 8, **changed), data, order))
    assert_near(read(path), np.moveaxis(colours[:, index], 0, -1))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_luminance_and_chroma_and_lab(compression: str | None, tmp_path: Path) -> None:
    path, chroma = tmp_path / "a.tif", np.asarray(Image.fromarray(RGB).convert("YCbCr"))
    tifffile.imwrite(path, chroma, photometric="ycbcr", subsampling=(1, 1), compression=compression)
    assert_near(read(path), RGB, 3)
    tifffile.imwrite(path, lab_of(RGB), photometric="cielab", compression=compression)
    assert np.abs(read(path) - RGB).mean() < 1


def lab_of(colours: Array) -> Array:
    """CIE L*a*b* of sRGB under D50 as a TIFF file stores it."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
    xyz = linear @ np.transpose(matrix) / (0.9642, 1, 0.8249)
    x, y, z = np.moveaxis(np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116), -1, 0)
    rounded = [np.rint(values).astype(np.int16) for values in (2.55 * (116 * y - 16), 500 * (x - y), 200 * (y - z))]
    return np.stack(rounded, -1).astype(np.uint8)  # negative ones wrap, as they should


def test_uncompressed_tiff_chroma_that_is_subsampled_is_refused(tmp_path: Path) -> None:
    changed: dict[str, Any] = {"t258": ("H", [8, 8, 8]), "t262": ("H", [6]), "t277": ("H", [3])}
    path = written(tmp_path / "a.tif", crafted.tiff(crafted.tiff_tags(4, 4, **changed), bytes(48)))
    with pytest.raises(ImageError, match="subsampled colours without a compression"):
        read(path)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("low", "high", "stated", "told"),
    [
        (0, 1, False, None),
        (-1, 1, True, None),
        (0, 255, True, None),
        (-1, 1, False, "samples reach from -1 to 1, beyond the range from 0 to 1"),
        (0, 255, False, "samples reach from 0 to 255"),
        (0, np.nan, False, "samples reach from nan to nan"),
        (0, np.inf, False, "samples reach from 0 to inf|from nan"),
    ],
)
def test_floating_point_samples_have_a_stated_range_or_0_to_1(
    low: float, high: float, stated: bool, told: str | None, compression: str | None, order: Any, tmp_path: Path
) -> None:
    values = (SHADES * (high - low) + low if np.isfinite(high) else np.where(SHADES < 1, SHADES, high)).astype("f4")
    tags = [(340, "f", 1, float(low), True), (341, "f", 1, float(high), True)] if stated else None
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order, compression=compression, extratags=tags)
    if told is None:
        assert_near(read(tmp_path / "a.tif"), grey(np.rint(255 * (values.astype(float) - low) / (high - low))))
    else:
        with pytest.raises(ImageError, match=rf"{told}.*: convert it to 8 or 16 bits"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("tags", [(340, 341, "I"), (280, 281, "H"), None])
def test_unsigned_32_bit_samples_have_a_stated_range(tags: tuple[int, int, str] | None, tmp_path: Path) -> None:
    most = 60_000 if tags and tags[2] == "H" else 4_000_000_000
    values = (SHADES * most).astype(np.uint32)
    extra = [(tags[0], tags[2], 1, 0, True), (tags[1], tags[2], 1, most, True)] if tags else None
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=extra)
    if tags:
        assert_near(read(tmp_path / "a.tif"), grey(np.rint(255 * (values / most))))
        tifffile.imwrite(tmp_path / "a.tif", values + np.uint32(1), extratags=extra)
        tifffile.imwrite(tmp_path / "a.tif", values + np.uint32(1), extratags=extra)
    with pytest.raises(ImageError, match="the file states"):
        read(tmp_path / "a.tif")


def test_signed_samples_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", samples("int16", 1))
    with pytest.raises(ImageError, match=r"a\.tif can't be read \(its samples are 16-bit signed integers.*: convert"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_greys_and_the_transparent_one(bits: int, tmp_path: Path) -> None:
    most, path = 2**bits - 1, tmp_path / "a.png"
    values = np.rint(SHADES * most).astype(int)
    rows = crafted.packed(values, bits) if bits < 16 else [row.astype(">u2").tobytes() for row in values]
    expected = np.rint(255 * (values / most)) if bits < 16 else values >> 8
    written(path, crafted.png((WIDTH, HEIGHT), bits, 0, rows))
    assert_near(read(path), grey(expected))
    key = int(values[3, 3])
    written(path, crafted.png((WIDTH, HEIGHT), bits, 0, rows, (b"tRNS", struct.pack(">H", key))))
    assert_near(read(path), grey(np.where(values == key, 255, expected)))
    assert_near(read(path, alpha="drop"), grey(expected))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_palettes_and_their_alpha(bits: int, tmp_path: Path) -> None:
    index, path = np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) % 2**bits, tmp_path / "a.png"
    colours = np.random.default_rng(0).integers(0, 256, (2**bits, 3), np.uint8)
    for alpha in (None, bytes(range(255, 255 - 2**bits, -1)), b"\0"):
        chunks = [(b"PLTE", colours.tobytes())] + ([(b"tRNS", alpha)] if alpha else [])
        written(path, crafted.png((WIDTH, HEIGHT), bits, 3, crafted.packed(index, bits), *chunks))
        shares = np.frombuffer((alpha or b"").ljust(2**bits, b"\xff"), np.uint8)
        assert_near(read(path), on_white(colours[index], shares[index]), 1)
        assert_near(read(path, alpha="drop"), colours[index])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_as_opencv_reads_them(channels: int, name: str, tmp_path: Path) -> None:
    values = samples("uint16", channels)
    assert cv2.imwrite(str(tmp_path / name), values)
    read_by_it = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
    assert read_by_it is not None and np.array_equal(read_by_it, values)
    high = values >> 8
    if channels == 1:
        assert_near(read(tmp_path / name), grey(high))
    elif channels == 3:
        assert_near(read(tmp_path / name), high[..., ::-1])
    else:
        assert_near(read(tmp_path / name), on_white(high[..., 2::-1], high[..., 3]), 1)


def test_png_16_bit_colours_with_a_transparent_one_are_refused(tmp_path: Path) -> None:
    rows = [row.astype(">u2").tobytes() for row in RGB]
    content = crafted.png((WIDTH, HEIGHT), 16, 2, rows, (b"tRNS", bytes(6)))
    with pytest.raises(ImageError, match="16-bit colours of which one is transparent"):
        read(written(tmp_path / "a.png", content))


@pytest.mark.parametrize("most", [1, 3, 100, 255, 256, 1023, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_ppm_of_any_maximum(most: int, plain: bool, channels: int, tmp_path: Path) -> None:
    values = np.rint((FOUR[..., :3] if channels == 3 else SHADES) * most).astype(int)
    magic = {(1, False): "P5", (1, True): "P2", (3, False): "P6", (3, True): "P3"}[channels, plain]
    data = " ".join(map(str, values.ravel())).encode() if plain else values.astype(">u2" if most > 255 else "u1")
    header = f"{magic}\n{WIDTH} {HEIGHT}\n{most}\n".encode()
    path = written(tmp_path / "a.pnm", header + (data if isinstance(data, bytes) else data.tobytes()))
    expected = 255 * (values / most)
    assert_near(read(path), grey(expected) if channels == 1 else expected, 1)


def test_pfm_of_0_to_1_is_read_and_one_in_another_unit_refused(tmp_path: Path) -> None:
    for scale, kind in ((-1.0, "<f4"), (1.0, ">f4")):
        content = f"Pf\n{WIDTH} {HEIGHT}\n{scale}\n".encode() + SHADES[::-1].astype(kind).tobytes()
        assert_near(read(written(tmp_path / "a.pfm", content)), grey(np.rint(255 * SHADES.astype("f4").astype(float))))
    content = f"Pf\n{WIDTH} {HEIGHT}\n-2.0\n".encode() + SHADES.astype("<f4").tobytes()
    with pytest.raises(ImageError, match="scaled by 2 to a unit"):
        read(written(tmp_path / "a.pfm", content))


@pytest.mark.parametrize("signed", [False, True])
def test_jpeg_2000_of_12_bits(signed: bool, tmp_path: Path) -> None:
    content = JPEG_2000.replace(b"\0\1\x0b\1\1", b"\0\1\x8b\1\1") if signed else JPEG_2000
    values = np.rint(np.add.outer(np.arange(4), np.arange(4)) / 6 * 4095).astype(int)
    assert_near(read(written(tmp_path / "a.j2k", content)), grey(values >> 4))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_2000_of_8_bits(channels: int, tmp_path: Path) -> None:
    values = np.rint(255 * FOUR[..., :channels]).astype(np.uint8)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    Image.fromarray(values[..., 0] if channels == 1 else values, mode).save(tmp_path / "a.jp2", irreversible=False)
    colours = grey(values[..., 0]) if channels < 3 else values[..., :3]
    assert_near(read(tmp_path / "a.jp2"), on_white(colours, values[..., -1]) if channels in (2, 4) else colours, 1)


@pytest.mark.parametrize(
    ("bits", "told"), [([4], "its samples have 4 bits"), ([12] * 3, "its colours have 12 bits"), ([38], "38 bits")]
)
def test_jpeg_2000_of_bits_that_pillow_shifts_wrongly_is_refused(bits: list[int], told: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.j2k", crafted.jpeg2000(4, 4, (4, 4), bits))
    with pytest.raises(ImageError, match=told):
        read(path)


def test_avif_of_12_bits(tmp_path: Path) -> None:
    one = np.add.outer(np.arange(4), np.arange(4)) / 6
    assert_near(read(written(tmp_path / "a.avif", AVIF)), 255 * np.stack([one, one[::-1], one[:, ::-1]], -1), 1.5)
    by_opencv = cv2.imread(str(tmp_path / "a.avif"), cv2.IMREAD_COLOR)
    if by_opencv is not None:
        assert_near(read(tmp_path / "a.avif"), by_opencv[..., ::-1].astype(int), 2)


def test_a_lossless_jpeg_is_exact_with_a_draft_too(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jpg", LOSSLESS)
    expected = grey(np.kron([[0, 80], [160, 255]], np.ones((16, 16), int)))
    assert_near(read(path), expected)
    assert_near(np.asarray(images.decode(path, preprocess=Preprocess("short", 1, 1, draft=True))).astype(int), expected)


BITS = np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("kind", ["colours", "black, white", "white, black", "ramp"])
def test_bmp_palettes_as_opencv_reads_them(bits: int, kind: str, tmp_path: Path) -> None:
    n_colours = 2 if "," in kind else 2**bits
    colours = {
        "colours": np.random.default_rng(1).integers(0, 256, (n_colours, 3)),
        "ramp": grey(np.arange(n_colours)),
        "black, white": grey(np.array([0, 255])),
        "white, black": grey(np.array([255, 0])),
    }[kind]
    palette = b"".join(bytes([*colour[::-1], 0]) for colour in colours.tolist())
    data = crafted.bmp_rows(crafted.packed(BITS % n_colours, bits))
    path = written(tmp_path / "a.bmp", crafted.bmp((WIDTH, HEIGHT), bits, data, palette))
    if (bits, kind) in {(4, "black, white"), (4, "ramp")}:
        with pytest.raises(ImageError):
            read(path)
        return
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert expected is not None
    assert_near(read(path), expected[..., ::-1].astype(int))


@pytest.mark.parametrize("alpha", [0, 128, 255])
@pytest.mark.parametrize("mask", [0, 0xFF000000])
def test_bmp_alpha_is_what_the_header_states(alpha: int, mask: int, tmp_path: Path) -> None:
    pixels = np.dstack([RGB[..., ::-1], np.full((HEIGHT, WIDTH), alpha, np.uint8)])
    data = crafted.bmp_rows([row.tobytes() for row in pixels])
    masks = (0xFF0000, 0xFF00, 0xFF, mask)
    path = written(tmp_path / "a.bmp", crafted.bmp((WIDTH, HEIGHT), 32, data, compression=3, masks=masks))
    assert_near(read(path), on_white(RGB, np.full((HEIGHT, WIDTH), alpha)) if mask else RGB, 1)
    written(path, crafted.bmp((WIDTH, HEIGHT), 32, data))
    assert_near(read(path), RGB)
    written(path, crafted.bmp((WIDTH, HEIGHT), 32, data, compression=3, masks=(0, 0, 0, 0)))
    assert_near(read(path), RGB)


@pytest.mark.parametrize("masks", [(0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)])
def test_bmp_of_16_bits(masks: tuple[int, int, int], tmp_path: Path) -> None:
    values = (BITS * 131 & 0x7FFF).astype("<u2")
    data = crafted.bmp_rows([row.tobytes() for row in values])
    path = written(tmp_path / "a.bmp", crafted.bmp((WIDTH, HEIGHT), 16, data, compression=3, masks=masks))
    assert_near(read(path), np.stack([255 * ((values & mask) / mask) for mask in masks], -1), 1)
    written(path, crafted.bmp((WIDTH, HEIGHT), 16, data, compression=3, masks=(*masks, 0x8000)))
    with pytest.raises(ImageError, match="transparency bit"):
        read(path)


@pytest.mark.parametrize("alpha_bits", [0, 8])
def test_tga_alpha_is_what_the_header_states(alpha_bits: int, tmp_path: Path) -> None:
    path, size, empty = tmp_path / "a.tga", (WIDTH, HEIGHT), np.zeros((HEIGHT, WIDTH), np.uint8)
    white = np.full_like(RGB, 255)
    written(path, crafted.tga(size, 2, 32, np.dstack([RGB[..., ::-1], empty]).tobytes(), alpha_bits))
    assert_near(read(path), white if alpha_bits else RGB)
    written(path, crafted.tga(size, 3, 16, np.dstack([GREY, empty]).tobytes(), alpha_bits))
    assert_near(read(path), white if alpha_bits else grey(GREY))
    colours = np.random.default_rng(0).integers(0, 256, (256, 4), np.uint8)
    colours[:, 3] = 0
    written(path, crafted.tga(size, 1, 8, GREY.tobytes(), alpha_bits, colours.tobytes()))
    assert_near(read(path), white if alpha_bits else colours[GREY][..., 2::-1])
    written(path, crafted.tga(size, 2, 24, RGB[..., ::-1].tobytes()))
    assert_near(read(path), RGB)


def test_tga_of_16_bits(tmp_path: Path) -> None:
    values = (BITS * 131 & 0x7FFF).astype("<u2")
    path = written(tmp_path / "a.tga", crafted.tga((WIDTH, HEIGHT), 2, 16, values.tobytes()))
    assert_near(read(path), np.stack([255 * ((values >> shift & 31) / 31) for shift in (10, 5, 0)], -1), 1)
    written(path, crafted.tga((WIDTH, HEIGHT), 2, 16, values.tobytes(), 1))
    with pytest.raises(ImageError, match="transparency bit"):
        read(path)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_greys_and_inks_as_opencv_reads_them(mode: str, photo: Path, tmp_path: Path) -> None:
    Image.open(photo).convert(mode).save(tmp_path / "a.jpg", quality=95)
    expected = cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_COLOR)
    assert expected is not None
    assert_near(read(tmp_path / "a.jpg"), expected[..., ::-1].astype(int), 2)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.avif", "a.jp2", "a.tif", "a.gif"])
@pytest.mark.parametrize("alpha", ["white", "black", "drop"])
def test_alpha_is_laid_on_the_colour_that_is_asked_for(name: str, alpha: Alpha, tmp_path: Path) -> None:
    shares = np.zeros((HEIGHT, WIDTH), np.uint8)
    shares[:, WIDTH // 2 :] = 255
    colours = np.full_like(RGB, (200, 100, 50))
    options: dict[str, Any] = {"lossless": True, "exact": True} if name == "a.webp" else {}
    Image.fromarray(np.dstack([colours, shares])).save(tmp_path / name, **options)
    ground = {"white": (255, 255, 255), "black": (0, 0, 0), "drop": (200, 100, 50)}[alpha]
    expected = np.where(shares[..., None] == 255, colours, np.array(ground))
    if name == "a.gif" and alpha == "drop":
        expected = expected[:, WIDTH // 2 :]  # the colour of what is transparent is the encoder's choice
        assert_near(read(tmp_path / name, alpha=alpha)[:, WIDTH // 2 :], expected, 3)
        return
    assert_near(read(tmp_path / name, alpha=alpha), expected, 3 if name in ("a.avif", "a.gif") else 1)


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBA"])
def test_an_opaque_alpha_changes_nothing(mode: str, photo: Path, tmp_path: Path) -> None:
    opened = Image.open(photo).convert("RGB")
    opaque = opened.convert("P").convert("PA") if mode == "PA" else opened.convert(mode)
    opaque.save(tmp_path / "a.tif")
    for treatment in ("white", "black", "drop"):
        assert np.array_equal(read(tmp_path / "a.tif", alpha=treatment), np.asarray(opaque.convert("RGB")))
    assert images.decode_layers(tmp_path / "a.tif")[1] is None


def test_layers_are_the_colours_and_the_alpha_of_a_part(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([RGB, GREY])).save(tmp_path / "a.png")
    colours, alpha = images.decode_layers(tmp_path / "a.png", (2, 3, 10, 9))
    assert alpha is not None
    assert np.array_equal(colours, RGB[3:9, 2:10]) and np.array_equal(alpha, GREY[3:9, 2:10])


def wide(space: str = "RGB") -> bytes:
    """A profile other than sRGB: linear light for RGB, whose middle grey is much brighter in sRGB."""
    profile = ImageCms.createProfile("sRGB")
    content = bytearray(ImageCms.ImageCmsProfile(profile).tobytes())
    start = content.find(b"para", 128)
    count = 0
    while start >= 0:  # curves of the type 3 become gamma 1 in the same room
        content[start + 8 : start + 10] = b"\0\0"
        content[start + 12 : start + 16] = struct.pack(">i", 1 << 16)
        count, start = count + 1, content.find(b"para", start + 4)
    assert count
    return bytes(content)


def test_a_managed_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png", icc_profile=wide())
    assert_near(read(tmp_path / "a.png"), RGB)
    share = RGB / 255
    srgb = 255 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)
    assert_near(read(tmp_path / "a.png", colour="managed"), srgb, 2)
    Image.fromarray(np.dstack([RGB, GREY])).save(tmp_path / "a.png", icc_profile=wide())
    assert_near(read(tmp_path / "a.png", colour="managed"), on_white(srgb, GREY), 2)


def test_managed_profiles_of_greys_and_inks(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png", icc_profile=crafted.grey_profile())
    share = GREY / 255
    srgb = 255 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)
    found, dark = read(tmp_path / "a.png", colour="managed"), GREY < 20  # where the curve is steep
    assert_near(found[~dark], grey(srgb)[~dark], 2)
    assert_near(found[dark], grey(srgb)[dark], 8)
    assert_near(read(tmp_path / "a.png"), grey(GREY))
    inks = np.dstack([RGB, GREY])
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.tif", icc_profile=crafted.ink_profile())
    managed = read(tmp_path / "a.tif", colour="managed")
    lightness = (1 - GREY / 255) * 100
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    expected = 255 * np.where(luminance <= 0.0031308, 12.92 * luminance, 1.055 * luminance ** (1 / 2.4) - 0.055)
    assert_near(managed, grey(expected), 4)
    assert np.abs(read(tmp_path / "a.tif") - managed).mean() > 20


@pytest.mark.parametrize("profile", [b"nonsense", b"", None])
def test_a_profile_that_is_damaged_or_of_other_colours_is_ignored(profile: bytes | None, tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.tif", icc_profile=wide() if profile is None else profile)
    with images.counted() as notices:
        assert_near(read(tmp_path / "a.tif", colour="managed"), grey(GREY))
    told = [row[1:] for row in notices.rows() if row[0].startswith("the ICC profile is ignored")]
    assert told == ([] if profile == b"" else [(str(tmp_path / "a.tif"), 1)])


GARBAGE = (b"Exif\0\0garbage!!", b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01", b"Exif\0\0MM\0*\xff\xff\xff\xff")


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.mpo", "a.png"])
@pytest.mark.parametrize("exif", GARBAGE)
def test_bad_exif_means_no_orientation(name: str, exif: bytes, tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / name, exif=exif)
    with images.counted():
        assert images.decode(tmp_path / name).size == (WIDTH, HEIGHT)


def test_a_bad_resolution_in_the_exif_of_a_jpeg_is_no_obstacle(tmp_path: Path) -> None:
    ratio = struct.pack("<HHI4s", 0x011A, 2, 2, b"1")  # a text instead of a ratio
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + ratio + struct.pack("<HHIII", 0x0128, 3, 1, 2, 0)
    Image.fromarray(RGB).save(tmp_path / "a.jpg", "JPEG")
    plain, content = read(tmp_path / "a.jpg"), (tmp_path / "a.jpg").read_bytes()
    block = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    start = 4 + int.from_bytes(content[4:6])  # instead of the JFIF block, which states a resolution
    written(tmp_path / "a.jpg", content[:2] + block + content[start:])
    with pytest.raises(OSError), Image.open(tmp_path / "a.jpg"):
        pass
    with images.counted() as notices:
        assert_near(read(tmp_path / "a.jpg"), plain)
    assert "the EXIF data is ignored: it is damaged" in [kind for kind, _, _ in notices.rows()]


def test_bad_exif_of_an_avif_file_means_no_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    Image.fromarray(RGB).save(tmp_path / "a.avif", exif=exif, quality=100)
    plain, content = read(tmp_path / "a.avif"), (tmp_path / "a.avif").read_bytes()
    written(tmp_path / "a.avif", content.replace(b"Exif\0\0MM\0*", b"Exif\0\0XX\0*"))
    with images.counted() as notices:
        assert_near(read(tmp_path / "a.avif"), plain)
    assert "the EXIF data is ignored" in notices.rows()[0][0]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_file_is_turned_by_its_own_tag_whatever_its_exif_block_holds(orientation: int, tmp_path: Path) -> None:
    changed: dict[str, Any] = {"t274": ("H", [orientation]), "t34665": ("I", [2**31])}
    path = written(tmp_path / "a.tif", crafted.tiff(crafted.tiff_tags(WIDTH, HEIGHT, **changed), GREY.tobytes()))
    with images.counted():
        assert_near(read(path), grey(GREY if orientation == 1 else np.rot90(GREY, -1)))


@pytest.mark.parametrize("xmp", [b'<x tiff:Orientation="6"/>', b'<x tiff:Orientation="9"/>', b"\xff\xfe\0"])
def test_xmp_turns_an_image_or_is_ignored(xmp: bytes, tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.jpg", xmp=xmp)
    turned = b'"6"' in xmp
    assert images.decode(tmp_path / "a.jpg").size == ((HEIGHT, WIDTH) if turned else (WIDTH, HEIGHT))
    tifffile.imwrite(tmp_path / "a.tif", RGB, extratags=[(700, "B", len(xmp), xmp, True)])
    assert images.decode(tmp_path / "a.tif").size == ((HEIGHT, WIDTH) if turned else (WIDTH, HEIGHT))


def test_the_alpha_and_the_profile_are_obeyed_by_load_as_well(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(buffer, "PNG")
    path = written(tmp_path / "a.png", buffer.getvalue())
    assert int(images.load(path, NATIVE).min()) == 255
    assert int(images.load(path, replace(NATIVE, alpha="black")).max()) == 0
