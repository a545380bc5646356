"""Image files made byte by byte, for what no encoder writes: claims of huge sizes, rare layouts, damage."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIZES = {"B": (1, 1), "H": (3, 2), "I": (4, 4)}


def png(size: tuple[int, int], bits: int, kind: int, rows: Sequence[bytes], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of rows packed into bytes. kind: 0 grey, 2 RGB, 3 palette, 4 and 6 with alpha."""
    header = struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def packed(values: NDArray[np.integer], bits: int) -> list[bytes]:
    """Rows of samples of 1, 2, 4 or 8 bits."""
    unpacked = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
    return [np.packbits(row.ravel()).tobytes() for row in unpacked]


def tiff(tags: dict[int, tuple[str, Sequence[int]]], data: bytes, order: str = "<") -> bytes:
    """A TIFF file of one directory; a tag has the type B, H or I. The data begins at byte 8."""
    data += b"\0" * (len(data) % 2)
    entries, outside = b"", b""
    place = 8 + len(data)
    after = place + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        code, size = SIZES[kind]
        body = struct.pack(f"{order}{len(values)}{kind}", *values)
        entries += struct.pack(f"{order}HHI", tag, code, len(values))
        if len(body) > 4:
            entries += struct.pack(f"{order}I", after + len(outside))
            outside += body + b"\0" * (len(body) % 2)
        else:
            entries += body.ljust(4, b"\0")
        assert size
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    return start + struct.pack(f"{order}I", place) + data + directory + outside


def tiff_tags(width: int, height: int, **changed: tuple[str, Sequence[int]]) -> dict[int, tuple[str, Sequence[int]]]:
    """Tags of an 8-bit grey image in one strip; others are given as t258=("H", [8])."""
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [8]),
        259: ("H", [1]),
        262: ("H", [1]),
        273: ("I", [8]),
        277: ("H", [1]),
        278: ("I", [height]),
        279: ("I", [width * height & 0xFFFFFFFF]),
    }
    return tags | {int(name[1:]): value for name, value in changed.items()}


def gif(
    screen: tuple[int, int], frame: tuple[int, int, int, int], disposal: int = 0, data: bytes = b"\x02\x4c\x01\x00"
) -> bytes:
    """A GIF file of one frame (left, top, width, height). data: code length 2, in one block."""
    control = b"!\xf9\x04" + bytes([disposal << 2 | 1]) + b"\0\0\0\0"
    block = b"\x02" + bytes([len(data)]) + data + b"\0"
    return (
        b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + control
        + b"," + struct.pack("<HHHHB", *frame, 0) + block + b";"
    )  # fmt: skip


def bmp(
    size: tuple[int, int], bits: int, data: bytes, palette: bytes = b"", compression: int = 0, masks: Sequence[int] = ()
) -> bytes:
    """A BMP file of rows as they lie in it: padded to 4 bytes, from the bottom. palette: blue, green, red, 0."""
    used = len(palette) // 4
    header = struct.pack("<iiHHIIiiII", *size, 1, bits, compression, len(data), 0, 0, used, 0)
    header += struct.pack(f"<{len(masks)}I", *masks)
    header = struct.pack("<I", 4 + len(header)) + header
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + header + palette + data


def bmp_rows(rows: Sequence[bytes]) -> bytes:
    """Rows from the top as a BMP file has them."""
    return b"".join(row + b"\0" * (-len(row) % 4) for row in reversed(rows))


def tga(size: tuple[int, int], kind: int, depth: int, data: bytes, alpha_bits: int = 0, colours: bytes = b"") -> bytes:
    """A TGA file from the top. kind: 1 palette (of `colours`, 32 bits each), 2 RGB, 3 grey, 10 RGB in runs."""
    header = struct.pack("<BBBHHB", 0, bool(colours), kind, 0, len(colours) // 4, 32 if colours else 0)
    return header + struct.pack("<HHHHBB", 0, 0, *size, depth, 0x20 | alpha_bits) + colours + data


def webp_canvas(width: int, height: int) -> bytes:
    """An extended WebP file of a canvas and nothing in it."""
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0])
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg2000(width: int, height: int, tile: tuple[int, int], bits: Sequence[int] = (8,)) -> bytes:
    """The main header of a JPEG 2000 codestream and an empty tile."""
    components = b"".join(bytes([depth - 1, 1, 1]) for depth in bits)
    body = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, *tile, 0, 0, len(bits)) + components
    siz = b"\xff\x51" + struct.pack(">H", 2 + len(body)) + body
    cod = b"\xff\x52" + struct.pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 0, 4, 4, 0, 1)
    qcd = b"\xff\x5c" + struct.pack(">HBB", 4, 0x40, 0x40)
    sot = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 14, 0, 1)
    return b"\xff\x4f" + siz + cod + qcd + sot + b"\xff\x93\xff\xd9"


def icc(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 for an output device. space, connection: such as b"GRAY", b"XYZ "."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    tags = {b"wtpt": white, b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"a\0" + bytes(78)} | tags
    table, body, place = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">III", 0, 0, 0x02100000) + b"prtr" + space + connection + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    header = header.ljust(128, b"\0")
    whole = header + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def grey_profile() -> bytes:
    """Greys in linear light."""
    return icc(b"GRAY", b"XYZ ", {b"kTRC": b"curv" + bytes(4) + struct.pack(">I", 0)})


def ink_profile() -> bytes:
    """Inks of which the first three have no effect on the lightness, which falls with black from 100 to 0."""
    line = bytes(range(256))
    corners = b"".join(bytes([0 if number & 1 else 255, 128, 128]) for number in range(16))
    matrix = struct.pack(">9i", *(0x10000 if place % 4 == 0 else 0 for place in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * line + corners + 3 * line
    return icc(b"CMYK", b"Lab ", {b"A2B0": table})
