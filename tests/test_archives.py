"""Archives as they are published, and as an enemy would make them."""

import bz2
import gzip
import io
import lzma
import os
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.archives import ArchiveError, Limits, unpack

LIMITS = Limits(100, 1_000_000)
FILES = {"jpg/a.jpg": b"photograph" * 1000, "jpg/deep/b.jpg": b"", "list.txt": b"a\nb\n"}


def zipped(content: bytes) -> bytes:
    """Compressed, without the time, which would change the names of tests."""
    return gzip.compress(content, mtime=0)


def tar_of(files: dict[str, bytes], mode: str = "w", *more: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in more:
            tar.addfile(info)
    return stream.getvalue()


def zip_of(files: dict[str, bytes], mode: int = 0, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """mode: the Unix mode of every file, as zip has it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for name, content in files.items():
            info = zipfile.ZipInfo()
            info.filename = name  # the constructor would mend it
            info.external_attr, info.compress_type = mode << 16, compression
            opened.writestr(info, content)
    return stream.getvalue()


def of_kind(name: str, kind: bytes, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return tar_of({"a.jpg": b"a"}, "w", info)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unpacked(archive: bytes, folder: Path, limits: Limits = LIMITS, *inner: str) -> dict[str, bytes]:
    file = folder / "work/archive"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(archive)
    unpack(file, folder / "data", limits, inner)
    return content(folder / "data")


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "archive",
    [
        *(tar_of(FILES, mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")),
        tar_of({f"./{name}": data for name, data in FILES.items()}, "w"),
        zip_of(FILES),
        zip_of(FILES, stat.S_IFREG | 0o4777, zipfile.ZIP_STORED),
        zipped(tar_of(FILES)[: 512 * 25]),  # without the zeros at its end
    ],
    ids=["tar", "gz", "bz2", "xz", "dot", "zip", "setuid", "endless"],
)
def test_every_format_is_told_by_its_content(archive: bytes, tmp_path: Path) -> None:
    assert unpacked(archive, tmp_path) == FILES
    assert everything(tmp_path) == {"work", "work/archive", "data", "data/jpg", "data/jpg/deep"} | {
        f"data/{name}" for name in FILES
    }
    mask = os.umask(0)
    os.umask(mask)
    assert {stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) for name in FILES} == {0o666 & ~mask}


def test_empty_folders_and_names_of_any_language_are_kept(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("leer")
    folder.type = tarfile.DIRTYPE
    files = {"Straße/日本 a.jpg": b"a", "ab:c.jpg": b"b"}
    assert unpacked(tar_of(files, "w", folder), tmp_path) == files and (tmp_path / "data/leer").is_dir()


def test_several_archives_make_one_folder_and_may_be_unpacked_again(tmp_path: Path) -> None:
    """As the two of Holidays, both of which hold jpg/."""
    first, second = {"jpg/1.jpg": b"1", "jpg/sub/x": b"x"}, {"jpg/2.jpg": b"2", "jpg/sub/y": b"y", "new/z": b"z"}
    unpacked(tar_of(first), tmp_path)
    (tmp_path / "data/jpg/own.txt").write_text("kept")
    for _ in range(2):
        found = unpacked(tar_of(second), tmp_path)
    assert found == first | second | {"jpg/own.txt": b"kept"}


def test_what_a_killed_call_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "work/archive.unpacking/jpg").mkdir(parents=True)
    (tmp_path / "work/archive.unpacking/jpg/a.jpg").write_bytes(b"half")
    assert unpacked(zip_of(FILES), tmp_path) == FILES
    assert everything(tmp_path / "work") == {"archive"}


def test_an_archive_in_the_archive_is_unpacked_where_it_lies(tmp_path: Path) -> None:
    """As caltech-101.zip."""
    outer = zip_of({"set/objects.tar.gz": tar_of(FILES, "w:gz"), "set/notes.tar": tar_of({"n.txt": b"n"})})
    found = unpacked(outer, tmp_path, LIMITS, "set/objects.tar.gz", "set/notes.tar")
    assert found == {f"set/{name}": data for name, data in FILES.items()} | {"set/n.txt": b"n"}


def test_an_archive_in_the_archive_is_not_trusted_more(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"inner\.tar was not unpacked, since its member '\.\./x' would lie outside"):
        unpacked(zip_of({"a": b"a", "inner.tar": tar_of({"../x": b"x"})}), tmp_path, LIMITS, "inner.tar")
    with pytest.raises(ArchiveError, match=r"lacks other\.tar"):
        unpacked(zip_of({"a": b"a"}), tmp_path, LIMITS, "other.tar")
    assert everything(tmp_path) == {"work", "work/archive"}


def encrypted() -> bytes:
    archive = bytearray(zip_of({"a.jpg": b"a", "secret.jpg": b"b"}))
    archive[archive.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(archive)


OUTSIDE = ("/etc/passwd", "../x", "a/../../x", "C:/x", "c:x")
CONTROLLED = ("..\\x", "a\\b.jpg", "a\nb.jpg")
REFUSED = [
    *((make({"ok.jpg": b"a", name: b"b"}), name, "would lie outside") for make in (tar_of, zip_of) for name in OUTSIDE),
    *((make({"ok.jpg": b"a", name: b"b"}), name, "a backslash") for make in (tar_of, zip_of) for name in CONTROLLED),
    (zip_of({"ok.jpg": b"a", "nu\0ll": b"b"}), "nu\0ll", "a control character"),
    (of_kind("soft", tarfile.SYMTYPE, "/etc/passwd"), "soft", "is a symbolic link"),
    (of_kind("soft", tarfile.SYMTYPE, "a.jpg"), "soft", "is a symbolic link"),
    (of_kind("hard", tarfile.LNKTYPE, "a.jpg"), "hard", "is a hard link"),
    *((of_kind("odd", kind), "odd", "is neither file nor folder") for kind in (tarfile.CHRTYPE, tarfile.FIFOTYPE)),
    (zip_of({"soft": b"/etc/passwd"}, stat.S_IFLNK | 0o777), "soft", "is a symbolic link"),
    (zip_of({"odd": b""}, stat.S_IFBLK), "odd", "is neither file nor folder"),
    (encrypted(), "secret.jpg", "is encrypted"),
    (tar_of({"a/b.jpg": b"a", "./a/b.jpg": b"b"}), "./a/b.jpg", "stands in it twice"),
    (zip_of({"a/b.jpg": b"a", "a//b.jpg": b"b"}), "a//b.jpg", "stands in it twice"),
    (tar_of({"a": b"a", "a/b.jpg": b"b"}), "a/b.jpg", "stands in it twice"),
    (tar_of({"a/b.jpg": b"b", "a": b"a"}), "a", "stands in it twice"),
    (zip_of({"a": b"a", "a/": b""}), "a/", "stands in it twice"),
    (tar_of({".": b"a"}), ".", "stands in it twice"),
]


@pytest.mark.parametrize(("archive", "member", "why"), REFUSED, ids=[f"{name!r}" for _, name, _ in REFUSED])
def test_what_leads_out_or_is_no_file_is_refused(archive: bytes, member: str, why: str, tmp_path: Path) -> None:
    """One sentence names archive and member; not even the members before it are left."""
    with pytest.raises(ArchiveError) as raised:
        unpacked(archive, tmp_path)
    told = str(raised.value)
    assert f"{tmp_path}/work/archive was not unpacked" in told and f"{member!r}" in told and why in told
    assert "\n" not in told and everything(tmp_path) == {"work", "work/archive"}


def lying_zip() -> bytes:
    """Its headers tell of 10 bytes."""
    archive = zip_of({"bomb": bytes(3_000_000)})
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = archive.index(magic) + offset
        archive = archive[:place] + (10).to_bytes(4, "little") + archive[place + 4 :]
    return archive


def sparse_tar() -> bytes:
    """A GNU sparse file: 512 bytes that stand for 8 GB."""
    block = bytearray(tarfile.TarInfo("bomb").tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[386:398] = block[398:410] = b"00000000000\0"
    block[483:495] = b"77777777777\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (zipped(tar_of({"a.jpg": b"a", "bomb": bytes(3_000_000)})), "'bomb' makes it more than the 1,000,000"),
        (zip_of({"a.jpg": b"a", "bomb": bytes(3_000_000)}), "'bomb' makes it more than the 1,000,000 bytes"),
        (zip_of({f"{n}": bytes(200_000) for n in range(6)}), "'5' makes it more than the 1,000,000 bytes"),
        (zip_of({f"{n}": b"" for n in range(101)}), "'100' is one more than the 100 that are allowed"),
        (tar_of({f"d/{n}": b"" for n in range(101)}), "'d/100' is one more than the 100 that are allowed"),
        (sparse_tar(), "'bomb' makes it more than the 1,000,000 bytes"),
        (lying_zip(), "is damaged"),
        (zipped(tar_of({"a" * 2_000_000: b"a"})), "a header of 2,000,"),
    ],
    ids=["tar", "zip", "many", "members", "tar-members", "sparse", "lying", "header"],
)
def test_a_bomb_is_not_unpacked(archive: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=why):
        unpacked(archive, tmp_path)
    assert everything(tmp_path) == {"work", "work/archive"}


def test_exactly_the_limits_are_allowed(tmp_path: Path) -> None:
    files = {"a": b"12345", "b": b"678"}
    for archive in (tar_of(files), zip_of(files)):
        assert unpacked(archive, tmp_path, Limits(2, 8)) == files
        for limits in (Limits(1, 8), Limits(2, 7)):
            with pytest.raises(ArchiveError, match="'b'"):
                unpacked(archive, tmp_path, limits)


def wrong_header() -> bytes:
    archive = bytearray(tar_of(FILES))
    archive[archive.index(b"list.txt") + 20] ^= 1
    return bytes(archive)


def wrong_byte(archive: bytes, place: int) -> bytes:
    return archive[:place] + bytes([archive[place] ^ 1]) + archive[place + 1 :]


def far_directory() -> bytes:
    """Its end tells of a directory so far on that the members would lie before the file."""
    archive = zip_of(FILES)
    return archive[:-6] + (1 << 20).to_bytes(4, "little") + archive[-2:]


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive at all",
        b"PK, not a zip",
        zipped(b"not a tar"),
        tar_of(FILES)[:2000],
        tar_of(FILES)[: 512 * 23 + 100],
        zipped(tar_of(FILES))[:-4],
        bz2.compress(tar_of(FILES))[:-20],
        lzma.compress(tar_of(FILES))[:-20],
        zip_of(FILES)[:-30],
        far_directory(),
        wrong_header(),
        wrong_byte(zipped(tar_of(FILES)), -6),  # of the checksum
        wrong_byte(zip_of({"a": b"data"}, 0, zipfile.ZIP_STORED), 32),
        wrong_byte(zip_of({"a": b"data"}, 0, zipfile.ZIP_STORED), -22 - 47 + 10),  # an unknown compression
    ],
)
def test_a_damaged_archive_is_one_sentence_and_leaves_nothing(archive: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"work/archive is damaged, or no zip or tar archive \(.+: get it again"):
        unpacked(archive, tmp_path)
    assert everything(tmp_path) == {"work", "work/archive"}


@settings(max_examples=150, deadline=None)
@given(make=st.sampled_from([tar_of, zip_of]), places=st.lists(st.integers(0, 1 << 20), min_size=1), end=st.integers(0))
def test_any_bytes_are_unpacked_whole_or_not_at_all(
    make: Callable[[dict[str, bytes]], bytes],
    places: list[int],
    end: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Archives with changed bytes and a changed end: nothing but an ArchiveError, and nothing outside."""
    folder = tmp_path_factory.mktemp("any")
    archive = bytearray(make({"a/b.jpg": random.Random(0).randbytes(700), "c.jpg": b"c"}))
    for place in places:
        archive[place % len(archive)] ^= 1 + place % 255
    try:
        unpacked(bytes(archive[: end % (2 * len(archive))]), folder)
        expected = {"work", "work/archive", "data"}
    except ArchiveError:
        expected = {"work", "work/archive"}
    assert {name for name in everything(folder) if not name.startswith("data/")} == expected


def test_a_full_disk_is_no_damaged_archive(tmp_path: Path) -> None:
    """What the archive can't help stays an error of the disk, and leaves nothing either."""
    with pytest.raises(OSError, match="name too long") as raised:
        unpacked(tar_of({"ok": b"a", "n" * 300: b"b"}), tmp_path)
    assert raised.value.errno and everything(tmp_path) == {"work", "work/archive"}
