"""Shards as they are found: compressed, concatenated, damaged, with names and members of any kind."""

import bz2
import errno
import gzip
import io
import lzma
import os
import tarfile
import time
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench import paths
from bench.data import tar_members, tar_shards
from bench.data.unpacked_folder import INDEX, Unpacking
from bench.errors import DatasetError, UsageError
from bench.sources import images_of
from tests.test_sources import encoded, kept, member, shades, shard, table, tar

COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tbz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".txz": lzma.compress,
    ".tar": gzip.compress,  # the content counts
    ".TAR.GZ": bytes,
}


@pytest.fixture
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A shard of the keys a, b, c with the shades 1, 2, 3."""
    return shard(tmp_path_factory.mktemp("plain") / "x.tar", "abc", 1).read_bytes()


def unreadable(spec: object) -> dict[str, str]:
    return dict(images_of(str(spec)).unreadable)


def skipped(spec: object) -> dict[str, int]:
    return dict(images_of(str(spec)).skipped)


# compressed


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_compressed_tars_are_read(suffix: str, plain: bytes, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / "wds" / f"x-{number}{suffix}").parent.mkdir(exist_ok=True)
        (tmp_path / "wds" / f"x-{number}{suffix}").write_bytes(COMPRESSED[suffix](plain))
    expected = {f"x-{number}{suffix}/{key}.jpg": 1 + place for number in range(2) for place, key in enumerate("abc")}
    assert shades(tmp_path / "wds") == expected
    assert shades(f"{tmp_path}/wds/x-{{0..1}}{suffix}") == shades(f"{tmp_path}/wds/*{suffix}") == expected
    assert skipped(tmp_path / "wds") == {".json": 6, ".txt": 6} and unreadable(tmp_path / "wds") == {}
    with pytest.raises(UsageError, match=r"names a column, but a \.tar has none"):
        images_of(f"{tmp_path}/wds/x-0{suffix}#jpg")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz"])
def test_damaged_compression_ends_a_shard_and_not_the_others(suffix: str, plain: bytes, tmp_path: Path) -> None:
    whole = COMPRESSED[suffix](plain)
    middle = len(whole) // 2
    for name, data in (("cut", whole[:middle]), ("wrong", whole[:-12] + bytes(12)), ("whole", whole)):
        (tmp_path / f"{name}{suffix}").write_bytes(data)
    source = images_of(f"{tmp_path}/*{suffix}")
    assert set(source.unreadable) == {f"cut{suffix}", f"wrong{suffix}"}
    assert all("can't be read whole (its compressed data is damaged" in why for why in source.unreadable.values())
    assert {f"whole{suffix}/{key}.jpg" for key in "abc"} <= {image.id for image in source.images}


def test_what_unpacks_to_too_much_is_left_out(plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_members, "MOST_BYTES", 100_000)
    bomb = tar(tmp_path / "bomb.tar", [("a.jpg", encoded(1)), ("b.jpg", bytes(10_000_000)), ("c.jpg", encoded(3))])
    (tmp_path / "bomb.tgz").write_bytes(gzip.compress(bomb.read_bytes()))
    assert shades(tmp_path / "bomb.tgz") == {"bomb.tgz/a.jpg": 1}
    assert "(it unpacks to more than 2" in unreadable(tmp_path / "bomb.tgz")["bomb.tgz"].replace(",", "")
    monkeypatch.setattr(tar_members, "MOST_MEMBERS", 4)
    (tmp_path / "many.tar").write_bytes(plain)
    assert shades(tmp_path / "many.tar") == {"many.tar/a.jpg": 1, "many.tar/b.jpg": 2}
    assert "(it has more than 4 members)" in unreadable(tmp_path / "many.tar")["many.tar"]


def test_a_huge_member_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_shards, "MOST_BYTES", 5000)
    path = tar(tmp_path / "x.tar", [("a.jpg", encoded(1)), ("b.jpg", bytes(5001)), ("c.mp4", bytes(9999))])
    assert shades(path) == {"x.tar/a.jpg": 1} and skipped(path) == {".mp4": 1}
    assert "key 'b': the image b.jpg has more than 5,000 bytes" in unreadable(path)["x.tar/b"]


# concatenated and damaged


@pytest.mark.parametrize("between", [0, 1, 512, 700, 5000, 3_000_000])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_concatenated_tars_are_read_whatever_is_between(
    between: int, compress: Callable[[bytes], bytes], plain: bytes, tmp_path: Path
) -> None:
    other = shard(tmp_path / "y.tar", "de", 4).read_bytes()
    (tmp_path / "x.tar").write_bytes(compress(plain + b"\xff" * between + other))
    assert shades(tmp_path / "x.tar") == {f"x.tar/{key}.jpg": 1 + place for place, key in enumerate("abcde")}
    found = unreadable(tmp_path / "x.tar")
    assert set(found) == ({"x.tar"} if between else set())
    if between:
        place = f"its bytes {len(plain):,} to {len(plain) + between - 1:,} are no tar"
        assert f"can't be read whole ({place}): get it again" in found["x.tar"]


def test_concatenated_gzips_are_one_shard(plain: bytes, tmp_path: Path) -> None:
    other = shard(tmp_path / "y.tar", "de", 4).read_bytes()
    (tmp_path / "x.tgz").write_bytes(gzip.compress(plain) + gzip.compress(other))
    assert len(shades(tmp_path / "x.tgz")) == 5 and unreadable(tmp_path / "x.tgz") == {}


def test_a_damaged_header_costs_its_member_alone(plain: bytes, tmp_path: Path) -> None:
    place = plain.index(b"b.jpg")
    (tmp_path / "x.tar").write_bytes(plain[: place + 130] + b"\x80\xff" + plain[place + 132 :])
    assert shades(tmp_path / "x.tar") == {"x.tar/a.jpg": 1, "x.tar/c.jpg": 3}
    assert f"(its bytes {place:,} to " in unreadable(tmp_path / "x.tar")["x.tar"]


def test_many_damages_are_one_sentence(plain: bytes, tmp_path: Path) -> None:
    data = bytearray(plain)
    for name in (b"a.jpg", b"c.jpg"):
        data[plain.index(name) + 148] ^= 1
    (tmp_path / "x.tar").write_bytes(data)
    assert shades(tmp_path / "x.tar") == {"x.tar/b.jpg": 2}
    assert "are no tar, and 1 more places are damaged)" in unreadable(tmp_path / "x.tar")["x.tar"]


def test_headers_that_lead_back_end(plain: bytes, tmp_path: Path) -> None:
    """Their sizes are negative, and whoever believes them reads the same member for ever."""
    info = tarfile.TarInfo("b.jpg")
    info.size = -1024
    header = info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(shard(tmp_path / "y.tar", "z").read_bytes()[:-1024] + header + plain)
    assert {"x.tar/a.jpg", "x.tar/z.jpg"} <= set(shades(tmp_path / "x.tar"))
    assert set(unreadable(tmp_path / "x.tar")) == {"x.tar"}


@pytest.mark.parametrize(
    "data", [b"<html>not found</html>" * 99, bytes(700), b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"PK\3\4"]
)
def test_what_is_no_tar_is_listed_beside_the_others(data: bytes, plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(plain)
    (tmp_path / "y.tar").write_bytes(data)
    assert set(shades(tmp_path)) == {"x.tar/a.jpg", "x.tar/b.jpg", "x.tar/c.jpg"}
    if any(data):
        assert "y.tar can't be read whole (it" in unreadable(tmp_path)["y.tar"]


def test_shards_that_cannot_be_opened_are_listed(plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(plain)
    os.mkfifo(tmp_path / "fifo.tar")
    (tmp_path / "gone.tar").symlink_to(tmp_path / "nowhere")
    begun = time.monotonic()
    assert len(shades(tmp_path)) == 3 and time.monotonic() - begun < 5
    assert {name: why.split("can't be read ")[1] for name, why in unreadable(tmp_path).items()} == {
        "fifo.tar": "(it is no regular file): get it again or leave it out",
        "gone.tar": "(No such file or directory): get it again or leave it out",
    }
    (tmp_path / "nowhere").write_bytes(plain)
    assert len(shades(tmp_path)) == 6


# members


def test_images_are_known_by_content(tmp_path: Path) -> None:
    files = [
        ("1.jpg", encoded(1, "AVIF")), ("2.img", encoded(2, "PNG")), ("3", encoded(3, "TIFF")),
        ("4.tga", encoded(4, "TGA")), ("5.bin", encoded(5, "BMP")), ("6.jp2", encoded(6, "JPEG2000")),
        ("7.gz", encoded(7, "GIF")), ("8.bin", b"BM but no image"), ("8.cls", b"1"), ("README", b"text"),
        ("9.jpg", b"<html>404</html>"), ("10.png", b""), ("4.txt", b"text"), (".hidden.jpg", encoded(9)),
        ("__MACOSX/1.jpg", encoded(9)), (".git/1.jpg", encoded(9)),
    ]  # fmt: skip
    path = tar(tmp_path / "x.tar", files)
    kinds = (".avif", ".png", ".tif", ".tga", ".bmp", ".jp2", ".gif")
    assert shades(path) == {f"x.tar/{number}{kind}": number for number, kind in enumerate(kinds, start=1)}
    assert set(unreadable(path)) == {"x.tar/9", "x.tar/10"}
    assert skipped(path) == {"": 1, ".bin": 1, ".cls": 1, ".txt": 1}


def test_which_of_its_members_is_the_image_of_a_key_does_not_depend_on_their_order(tmp_path: Path) -> None:
    files = [
        ("1.mask.png", encoded(50, "PNG")), ("1.jpg", encoded(1)), ("1.depth", encoded(60, "PNG")),
        ("2.depth", encoded(60, "PNG")), ("2.photo.jpg", encoded(2)), ("3.mask.png", b"no image"),
        ("3.jpg", encoded(3)), ("4.jpg", b"no image"), ("4.mask.png", encoded(50, "PNG")),
    ]  # fmt: skip
    for number, order in enumerate((files, files[::-1])):
        path = tar(tmp_path / f"{number}.tar", order)
        assert shades(path) == {f"{number}.tar/{key}.jpg": key for key in (1, 2, 3)}
        assert list(unreadable(path)) == [f"{number}.tar/4"]
        assert skipped(path) == {".depth": 2, ".mask.png": 3}
        folder = images_of(str(path)).images[0].path.parent
        assert len(list(folder.iterdir())) == 3


def test_what_is_refused_has_a_name_of_its_own(tmp_path: Path) -> None:
    files = [("a.jpg", encoded(1)), (member("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), b"")]
    path = tar(tmp_path / "x.tar", files)
    assert shades(path) == {"x.tar/a.jpg": 1} and list(unreadable(path)) == ["x.tar/a.jpg (2)"]


NAMES = (
    "a", "a/b", "A", "a/B", "x\ry", "line\nbreak", "back\\slash", "caf\udce9", unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"), "long" * 100, "a/" * 400 + "deep", "日本", " space ", "con", "semi;colon,comma",
)  # fmt: skip


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_keys_of_any_name_are_read(form: int, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as archive:
        for number, name in enumerate(NAMES):
            info, data = member(f"{name}.png"), encoded(number, "PNG")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    found = shades(tmp_path / "x.tar")
    assert sorted(found.values()) == list(range(len(NAMES))) and unreadable(tmp_path / "x.tar") == {}
    assert found[r"x.tar/caf\xe9.png"] == 7 and found[r"x.tar/x\ry.png"] == 4 and found[r"x.tar/back\\slash.png"] == 6
    assert found["x.tar/\u00e9.png"] == 8 and found["x.tar/e\u0301.png"] == 9
    assert all(name.isprintable() and name.encode() for name in found)


def test_a_shard_of_any_name_is_read(plain: bytes, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "x\r.tar").write_bytes(plain)
    table(tmp_path / "y.parquet", [encoded(9), None]).rename(folder / "y\n.parquet")
    assert set(shades(folder)) == {rf"x\r.tar/{key}.jpg" for key in "abc"}
    assert images_of(str(folder)).identity.endswith(r"/caf\xe9")
    assert shades(folder / "y\n.parquet") == {r"y\n.parquet/00000000.jpg": 9}
    (why,) = unreadable(folder / "y\n.parquet").values()
    assert why.isprintable() and r"/caf\xe9/y\n.parquet, row 1 of" in why


# parquet

IMAGES = [encoded(shade) for shade in range(3)]
SIZE = max(map(len, IMAGES))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(IMAGES).dictionary_encode(),
        pa.array(IMAGES, pa.large_binary()),
        pa.array([image.ljust(SIZE, b"\0") for image in IMAGES], pa.binary(SIZE)),
        pa.StructArray.from_arrays([pa.array(IMAGES).dictionary_encode(), pa.array(["p"] * 3)], ["bytes", "path"]),
        pa.StructArray.from_arrays([pa.array(IMAGES, pa.large_binary())], ["bytes"]),
        pa.array(IMAGES, pa.binary_view()),
    ],
)
def test_columns_of_any_layout(column: pa.Array, tmp_path: Path) -> None:
    try:
        pq.write_table(pa.table({"image": column}), tmp_path / "x.parquet")
    except pa.ArrowNotImplementedError:
        pytest.skip("this version of arrow does not write it")
    assert shades(tmp_path / "x.parquet") == {f"x.parquet/{row:08d}.jpg": row for row in range(3)}


def test_rows_without_an_image_are_told_apart(tmp_path: Path) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    values = [
        None,
        {"bytes": None, "path": "img/1.jpg"},
        {"bytes": b"", "path": "img/2.jpg"},
        {"bytes": None, "path": None},
        {"bytes": b"<html>", "path": "img/4.jpg"},
        {"bytes": encoded(5, "AVIF"), "path": "img/5.jpg"},
    ]
    pq.write_table(pa.table({"image": pa.array(values, kind)}), tmp_path / "x.parquet")
    assert shades(tmp_path / "x.parquet") == {"x.parquet/00000005.avif": 5}
    found = unreadable(tmp_path / "x.parquet")
    assert list(found) == [f"x.parquet/{row:08d}" for row in range(5)]
    assert "counted from 0, has a path (img/1.jpg) but no bytes: fill it" in found["x.parquet/00000001"]
    assert all("holds no image: fill it" in found[f"x.parquet/{row:08d}"] for row in (0, 2, 3))
    assert "can't be read" in found["x.parquet/00000004"]


def test_a_broken_row_group_ends_its_file_alone(tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", [os.urandom(3000) + bytes([i]) for i in range(200)], rows=100)
    table(tmp_path / "y.parquet", [encoded(7)])
    pq.write_table(
        pa.table({"image": [encoded(shade) for shade in range(200)]}), path, row_group_size=100, compression="snappy"
    )
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = group.data_page_offset
    data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    found = shades(tmp_path)
    assert found["y.parquet/00000000.jpg"] == 7 and 64 <= len(found) - 1 <= 100
    (why,) = unreadable(tmp_path).values()
    assert list(unreadable(tmp_path)) == ["x.parquet"]
    assert f"x.parquet can't be read from row {len(found) - 1} on (" in why


# kept


def test_a_changed_shard_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("a.png", encoded(1, "PNG"))])
    before = path.stat()
    assert shades(path) == {"x.tar/a.png": 1}
    other = tar(tmp_path / "other.tar", [("a.png", encoded(2, "PNG"))]).read_bytes()
    assert len(other) == before.st_size
    path.write_bytes(other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns and shades(path) == {"x.tar/a.png": 2}


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device"), MemoryError()]
)
@pytest.mark.parametrize("method", ["keep", "finish"])
def test_what_is_interrupted_leaves_nothing(
    error: BaseException, method: str, plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    (tmp_path / "x.tar").write_bytes(plain)
    table(tmp_path / "y.parquet", [encoded(1)])

    def fails(*_: object) -> None:
        raise error

    for name in ("x.tar", "y.parquet"):
        with monkeypatch.context() as broken:
            broken.setattr(Unpacking, method, fails)
            with pytest.raises(type(error)):
                _ = images_of(str(tmp_path / name)).images
        assert kept() == []
    assert len(shades(tmp_path / "x.tar")) == 3 and len(kept()) == 1


def test_an_index_that_was_damaged_is_told(plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    (tmp_path / "x.tar").write_bytes(plain)
    assert len(shades(tmp_path / "x.tar")) == 3
    (paths.home() / "sources" / kept()[0] / INDEX).write_text("{")
    with pytest.raises(DatasetError, match=r"can't be read .* delete it, they are then unpacked again"):
        _ = images_of(str(tmp_path / "x.tar")).images


def test_what_is_unpacked_has_the_bytes_of_the_shard(tmp_path: Path) -> None:
    """However many reads it takes."""
    noise = Image.frombytes("RGB", (900, 900), os.urandom(3 * 900**2))
    stream = io.BytesIO()
    noise.save(stream, "PNG")
    files: Iterable[tuple[str, bytes]] = [("a.jpg", encoded(1)), ("b.png", stream.getvalue()), ("c.jpg", encoded(2))]
    path = tar(tmp_path / "x.tar", files)
    (tmp_path / "x.tgz").write_bytes(gzip.compress(path.read_bytes(), 1))
    for spec in (path, tmp_path / "x.tgz"):
        assert [image.path.read_bytes() for image in images_of(str(spec)).images] == [data for _, data in files]
