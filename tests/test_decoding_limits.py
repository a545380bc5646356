"""What files may make the decoders do: memory, other kinds of files, programs, and errors of any kind."""

import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

from bench import images
from bench.errors import ImageError
from bench.images.formats import is_image
from bench.images.gate import Gate
from bench.interfaces import NATIVE, Preprocess
from tests import crafted

HUGE, ALLOWED = 100_000, 13_000
#: MB of addresses that a file which claims too much may take beyond those of a process that has read an image.
ROOM = 100
EMPTY = bytes(64)

CHILD = """
import json, resource, sys
from pathlib import Path
from bench import images
from bench.errors import ImageError

def status(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) << 10

room, first, *files = sys.argv[1:]
images.decode(Path(first))
resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + (int(room) << 20),) * 2)
told = {}
for name in files:
    try:
        told[name] = list(images.decode(Path(name)).size)
    except ImageError as error:
        told[name] = str(error)
told["peak"] = status("VmHWM") >> 20
print(json.dumps(told))
"""


def in_a_child(room: int, photo: Path, files: list[Path]) -> dict[str, Any]:
    """What decoding files gives in a process that may take `room` MB more than it has."""
    command = [sys.executable, "-c", CHILD, str(room), str(photo), *map(str, files)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "DecompressionBombWarning" not in done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def saved(name: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(noise).save(buffer, name, **({"lossless": True} if name == "WEBP" else {}))
    return buffer.getvalue()


def jpeg(width: int, height: int) -> bytes:
    content = saved("JPEG")
    start = content.index(b"\xff\xc0")
    return content[: start + 5] + struct.pack(">HH", height, width) + content[start + 9 :]


def avif(width: int, height: int) -> bytes:
    content = saved("AVIF")
    start = content.index(b"ispe")
    return content[: start + 8] + struct.pack(">II", width, height) + content[start + 16 :]


def webp(width: int, height: int) -> bytes:
    content = saved("WEBP")
    return content[:21] + struct.pack("<I", width - 1 | height - 1 << 14) + content[25:]


def tiled(side: int, compression: int = 1) -> bytes:
    changed: dict[str, Any] = {"t259": ("H", [compression]), "t322": ("I", [side]), "t323": ("I", [side])}
    tags = crafted.tiff_tags(16, 16, t324=("I", [8]), t325=("I", [64]), **changed)
    return crafted.tiff({tag: value for tag, value in tags.items() if tag not in (273, 278, 279)}, EMPTY)


def tiff(width: int = 16, height: int = 16, **changed: Any) -> bytes:
    return crafted.tiff(crafted.tiff_tags(width, height, **changed), EMPTY)


def jp2(width: int, height: int, codestream: bytes) -> bytes:
    def box(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + name + body

    header = box(b"ihdr", struct.pack(">IIHBBBB", height, width, 3, 7, 7, 0, 0))
    header += box(b"colr", b"\1\0\0" + struct.pack(">I", 16))
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + box(b"jp2h", header) + box(b"jp2c", codestream)


#: Files that claim more pixels than are decoded; they say so, and not that memory was short.
CLAIMS: dict[str, Callable[[], bytes]] = {
    "size.png": lambda: crafted.png((HUGE, HUGE), 8, 2, [EMPTY]),
    "size.jpg": lambda: jpeg(65500, 65500),
    "size.avif": lambda: avif(16000, 16000),
    "canvas.webp": lambda: crafted.webp_canvas(16384, 16384),
    "wide_canvas.webp": lambda: crafted.webp_canvas(2**24, 2**24),
    "size.webp": lambda: webp(16384, 16384),
    "screen.gif": lambda: crafted.gif((65535, 65535), (0, 0, 1, 1)),
    "frame.gif": lambda: crafted.gif((1, 1), (0, 0, 65535, 65535)),
    "disposed.gif": lambda: crafted.gif((1, 1), (0, 0, 65535, 65535), disposal=2),
    "place.gif": lambda: crafted.gif((1, 1), (60000, 60000, 5, 5)),
    "size.bmp": lambda: crafted.bmp((HUGE, HUGE), 24, EMPTY),
    "runs.bmp": lambda: crafted.bmp((HUGE, HUGE), 8, b"\0\2\xff\xff" * 50, bytes(1024), 1),
    "size.ppm": lambda: b"P6\n%d %d\n255\n" % (HUGE, HUGE) + EMPTY,
    "plain.ppm": lambda: b"P3\n%d %d\n255\n1 2 3" % (HUGE, HUGE),
    "runs.tga": lambda: crafted.tga((65535, 65535), 10, 24, b"\xff\0\0\0"),
    "size.tif": lambda: tiff(HUGE, HUGE),
    "size_lzw.tif": lambda: tiff(HUGE, HUGE, t259=("H", [5])),
    "wide.tif": lambda: tiff(2**31 - 1, 1, t259=("H", [5])),
    "size.j2k": lambda: crafted.jpeg2000(HUGE, HUGE, (HUGE, HUGE)),
    "size.jp2": lambda: jp2(HUGE, HUGE, crafted.jpeg2000(16, 16, (16, 16), (8, 8, 8))),
}
BOMB = b"x\0\0" + zlib.compress(bytes(200_000_000), 1)
#: Other small files that would take memory, by their names.
TRAPS: dict[str, Callable[[], bytes]] = {
    "profile.png": lambda: crafted.png((4, 4), 8, 2, [bytes(12)] * 4, (b"iCCP", BOMB)),
    "text.png": lambda: crafted.png((4, 4), 8, 2, [bytes(12)] * 4, (b"zTXt", BOMB)),
    "chunk.png": lambda: crafted.png((4, 4), 8, 2, [b""])[:33] + struct.pack(">I", 2**31 - 1) + b"tEXt",
    "tile.tif": lambda: tiled(HUGE),
    "tile_lzw.tif": lambda: tiled(13_008, 5),
    "tile_jpeg.tif": lambda: tiled(65_520, 7),
    "strip_lzw.tif": lambda: tiff(t278=("I", [2**31 - 1]), t279=("I", [2**31 - 1]), t259=("H", [5])),
    "strip.tif": lambda: tiff(t279=("I", [2**32 - 1])),
    "samples.tif": lambda: tiff(t277=("I", [2**31])),
    "bits.tif": lambda: tiff(t258=("H", [65535])),
    "tile.j2k": lambda: crafted.jpeg2000(16, 16, (2**32 - 1, 2**32 - 1), (8, 8, 8)),
    "components.j2k": lambda: crafted.jpeg2000(16, 16, (16, 16), (8,) * 16384),
    "codestream.jp2": lambda: jp2(16, 16, crafted.jpeg2000(60_000, 60_000, (60_000, 60_000), (8, 8, 8))),
    "palette.bmp": lambda: crafted.bmp((4, 4), 8, EMPTY)[:46] + struct.pack("<I", 2**31) + EMPTY,
    "header.bmp": lambda: b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<I", 2**31 - 1) + EMPTY,
    "token.ppm": lambda: b"P6\n" + b"9" * 100_000,
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no limit of addresses")
def test_small_files_that_claim_much_are_refused_with_little_memory(photo: Path, tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in CLAIMS | TRAPS}
    for name, make in (CLAIMS | TRAPS).items():
        paths[name].write_bytes(make())
        assert paths[name].stat().st_size < 2_000_000
    told = in_a_child(ROOM, photo, list(paths.values()))
    for name, path in paths.items():
        message = told[str(path)]
        assert isinstance(message, str) and str(path) in message and "\n" not in message, name
        assert "memory" not in message, message
        if name in CLAIMS:
            assert "more than the 178,956,970" in message, message


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no limit of addresses")
def test_many_directories_and_tags_take_little_memory(photo: Path, tmp_path: Path) -> None:
    entries = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 16), (279, 4, 1, 256)]

    def directory(after: int, *more: tuple[int, int, int, int]) -> bytes:
        body = b"".join(struct.pack("<HHII", *entry) for entry in (*entries, *more))
        return struct.pack("<H", len(entries) + len(more)) + body + struct.pack("<I", after)

    start, length = b"II*\0" + struct.pack("<I", 8), len(directory(0))
    many = [directory(8 + length * (number + 1)) for number in range(5000)]
    (tmp_path / "directories.tif").write_bytes(start + b"".join(many) + directory(0) + bytes(256))
    (tmp_path / "loop.tif").write_bytes(start + directory(8) + bytes(256))
    tags = [(1000 + number, 7, 400_000, 100) for number in range(2000)]
    (tmp_path / "tags.tif").write_bytes(start + directory(0, *tags) + bytes(500_000))
    paths = sorted(tmp_path.glob("*.tif"))
    told = in_a_child(ROOM, photo, paths)
    assert [told[str(path)] for path in paths] == [[16, 16]] * 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no limit of addresses")
def test_a_small_gif_takes_no_more_than_its_pixels_need(photo: Path, tmp_path: Path) -> None:
    frame = (0, 0, ALLOWED, ALLOWED)
    for disposal in (0, 2, 3):
        (tmp_path / f"{disposal}.gif").write_bytes(crafted.gif((1, 1), frame, disposal))
    paths = sorted(tmp_path.glob("*.gif"))
    told = in_a_child(ALLOWED**2 * 2 >> 20, photo, paths)
    assert all("memory" not in told[str(path)] for path in paths)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no peak of memory")
def test_threads_that_read_large_images_do_not_add_up(tmp_path: Path) -> None:
    side = 9_500  # two of them are more than all that is decoded at once
    Image.new("L", (side, side)).save(tmp_path / "a.png", compress_level=1)
    code = (
        "import re, sys\nfrom concurrent.futures import ThreadPoolExecutor\nfrom pathlib import Path\n"
        "from bench import images\n"
        "def read(_): return images.decode(Path(sys.argv[1])).size\n"
        "def peak(): return int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) >> 10\n"
        "before = peak()\nread(0)\none = peak() - before\n"
        "with ThreadPoolExecutor(4) as pool: list(pool.map(read, range(4)))\n"
        "print(one, peak() - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True)
    one, all_of_them = map(int, done.stdout.split())
    # what is returned may still be held while the next one is decoded
    assert one > side**2 >> 20 and all_of_them < 2.5 * one


def test_an_image_over_half_the_limit_is_read_without_a_warning(photo: Path, tmp_path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    assert in_a_child(2000, photo, [tmp_path / "large.png"])[str(tmp_path / "large.png")] == [10_000, 10_000]


@pytest.fixture
def special(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Files that are none, by kind."""
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tmp_path)  # the name of a socket has a short limit
        listening.bind("socket.jpg")
        os.chdir(here)
        yield {kind: tmp_path / f"{kind}.jpg" for kind in ("fifo", "folder", "device", "socket")}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files")
def test_what_is_no_regular_file_is_not_opened(special: dict[str, Path]) -> None:
    for kind, path in special.items():
        with pytest.raises(ImageError, match=rf"(?i){kind}\.jpg can't be read \(it is a {kind} and no file\)"):
            images.decode(path)
        path.with_suffix("").symlink_to(path)
        assert not is_image(path.with_suffix(""))


def test_a_file_of_more_bytes_than_are_read_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.webp").open("wb") as stream:
        stream.write(webp(16, 16))
        stream.truncate(2**30 + 1)  # no room is taken on the disk
    with pytest.raises(ImageError, match=r"a\.webp can't be read \(it has 1,073,741,825 bytes"):
        images.decode(tmp_path / "a.webp")


def test_no_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    others = {
        "EPS": postscript,
        "ICNS": b"icns\0\0\0\x10ic08\0\0\0\x08",
        "PDF": b"%PDF-1.4\n",
        "FPX": b"\xd0\xcf\x11\xe0" * 200,
    }
    for name, content in others.items():
        for suffix in (".jpg", ".tga", ".eps"):
            path = tmp_path / f"{name}{suffix}"
            path.write_bytes(content)
            with pytest.raises(ImageError, match="cannot identify image file"):
                images.decode(path)
    assert not (tmp_path / "started").exists()


def test_tga_is_tried_by_its_suffix_alone(tmp_path: Path) -> None:
    for name in ("a.tga", "a.jpg"):
        (tmp_path / name).write_bytes(crafted.tga((2, 2), 2, 24, bytes(12)))
    assert images.decode(tmp_path / "a.tga").size == (2, 2)
    with pytest.raises(ImageError, match="none of JPEG"):
        images.decode(tmp_path / "a.jpg")


RAISED = [
    *(
        OSError("broken\n data"),
        SyntaxError("bad"),
        ValueError("wrong"),
        RuntimeError("libavif"),
        struct.error("short"),
    ),
    *(NotImplementedError("not yet"), MemoryError(), zlib.error("-3"), OverflowError("large"), KeyError(7), EOFError()),
    *(AttributeError("none"), Image.DecompressionBombError("bomb"), TypeError(), ZeroDivisionError("0"), IndexError()),
]


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_any_error_of_a_decoder_names_the_file(
    raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def fail(self: ImageFile.ImageFile) -> None:
        raise raised

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    for read in (images.decode, images.decode_layers, lambda path: images.load(path, NATIVE)):
        with pytest.raises(
            ImageError, match=r"^the image [^\n]*a\.png can't be read \([^\n]*\S[^\n]*\): replace it or"
        ):
            read(tmp_path / "a.png")


def test_an_interruption_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def fail(self: ImageFile.ImageFile) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(KeyboardInterrupt):
        images.decode(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(1, 500), (1, 3000), (1, 65537), (65537, 1), (3, 200_000)])
@pytest.mark.parametrize("resize", ["short", "squash", "letterbox", "none"])
@pytest.mark.parametrize("crop", [None, 224])
def test_an_elongated_image_is_resized_or_refused(
    size: tuple[int, int], resize: Any, crop: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.new("L", size, 200).save(path)
    preprocess = Preprocess(resize, None if resize == "none" else 224, crop)
    if resize == "short":
        with pytest.raises(ImageError, match=rf"a\.png of {size[0]} x {size[1]} pixels is too elongated .*4,194,304"):
            images.load(path, preprocess)
        return
    tensor = images.load(path, preprocess)
    assert tuple(tensor.shape[1:]) == ((crop, crop) if crop else size[::-1] if resize == "none" else (224, 224))


def test_the_short_side_has_a_limit_in_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for size, long, fits in [(256, 64, True), (256, 65, False), (2048, 4, True), (2048, 5, False)]:
        Image.new("L", (long, 1)).save(path)
        preprocess = replace(NATIVE, resize="short", size=size)
        if fits:
            assert tuple(images.load(path, preprocess).shape) == (3, size, size * long)
        else:
            with pytest.raises(ImageError, match="too elongated"):
                images.load(path, preprocess)


def test_a_gate_holds_no_more_than_its_limit_but_any_single_one() -> None:
    gate, held, most = Gate(100), [0], [0]
    lock = threading.Lock()

    def use(pixels: int) -> None:
        with gate.holding(pixels):
            with lock:
                held[0] += pixels
                assert held[0] <= 100 or held[0] == pixels
                most[0] = max(most[0], held[0])
            time.sleep(0.001)
            with lock:
                held[0] -= pixels

    threads = [threading.Thread(target=use, args=(pixels,)) for pixels in [30, 60, 250, 1, 99, 100] * 20]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert held[0] == 0 and most[0] == 250


def test_a_gate_is_left_by_an_error_as_well(tmp_path: Path) -> None:
    gate = Gate(10)
    for _ in range(3):
        with pytest.raises(ValueError), gate.holding(10):
            raise ValueError
    with gate.holding(10):
        pass


def test_a_stream_is_read_as_a_file_is(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4, 3), np.uint8))
    with (tmp_path / "a.tif").open("rb") as stream, images.opened(stream) as file:
        assert (file.format, file.size) == ("TIFF", (4, 4))
    with pytest.raises(ImageError, match="cannot identify"):
        images.opened(io.BytesIO(b"text"))
    with pytest.raises(ImageError, match="has 100000 x 100000 pixels"):
        images.opened(io.BytesIO(CLAIMS["size.png"]()))
