"""Names that are no UTF-8, hold control characters, or are very long: escaped, found again, made file names of."""

import errno
import os
import socket
import unicodedata
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import DatasetError, told
from bench.files import sha256_file, sha256_text, write_text
from bench.names import Disk, Names, encoded, escaped, file_name, printable, unescaped

#: Any text, surrogates included, with what is escaped and what looks escaped more often than chance has it.
texts = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cs"]),
        st.sampled_from("\\\r\n\txuU0189ef\x00\x1b\u202e\u2028\udce9"),
    )
)


@given(texts)
def test_escaped_names_are_printable_and_lead_back(name: str) -> None:
    written = escaped(name)
    assert unescaped(written) == name
    written.encode()
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in written)
    assert len(written.splitlines()) <= 1


@given(texts, texts)
def test_different_names_are_written_differently(one: str, other: str) -> None:
    assert (escaped(one) == escaped(other)) == (one == other)


@given(st.binary(min_size=1))
def test_names_of_any_bytes_lead_back(name: bytes) -> None:
    assert os.fsencode(unescaped(escaped(os.fsdecode(name)))) == name


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (os.fsdecode(b"caf\xe9.jpg"), r"caf\xe9.jpg"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("\x00\x1b\x85\u2028\u202e\ufeff\uffff", r"\u0000\u001b\u0085\u2028\u202e\ufeff\uffff"),
        ("\U0010ffff\ud800", r"\U0010ffff\ud800"),
        (r"a\b", r"a\\b"),
        ("café 日本 👨‍👩‍👧 ; , \" '", "café 日本 👨‍👩‍👧 ; , \" '"),
        ("cafe\u0301", "cafe\u0301"),
    ],
)
def test_what_is_escaped(name: str, written: str) -> None:
    assert escaped(name) == written and unescaped(written) == name


def test_what_cannot_have_been_escaped_stays() -> None:
    assert unescaped(r"a\qb \x41 \u12 \UFFFFFFFF \Uffffffff" + "\\") == r"a\qb \x41 \u12 \UFFFFFFFF \Uffffffff" + "\\"


@given(texts)
def test_printable_text_stays_so(text: str) -> None:
    assert printable(printable(text)) == printable(text)
    assert printable(escaped(text)) == escaped(text)
    encoded(text)


# in tables


def test_an_image_is_found_by_its_id_then_its_name_then_in_nfc() -> None:
    ids = [escaped(name) for name in ("plain", "a\\b", "a\\\\b", "x\ny", "cafe\u0301", "é", "e\u0301")]
    find = Names(ids).find
    assert find("plain") == "plain" and find("other") is None
    assert find("a\\\\b") == "a\\\\b"  # the id of the name with one backslash, and not the name with two
    assert find("a\\b") == "a\\\\b" and find("x\ny") == r"x\ny" == find(r"x\ny")
    assert find("café") == "cafe\u0301"
    assert find("é") == "é" and find("e\u0301") == "e\u0301"
    both = Names(["u\u0323\u0302", "\u1ee5\u0302"]).find  # one letter, written in two of its three ways
    assert both("u\u0302\u0323") is None


def test_a_path_is_found_on_disk_under_another_form_of_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "re\u0301sume\u0301"
    folder.mkdir()
    for name in (b"caf\xe9.jpg", "e\u0301.jpg".encode(), b"a\\b.jpg", b"\xff.jpg", "\u1ee5\u0302".encode()):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).touch()
    find = Disk().find
    assert find(folder / "e\u0301.jpg") == folder / "e\u0301.jpg"
    assert find(tmp_path / "résumé/é.jpg") == folder / "e\u0301.jpg"
    assert find(Path(escaped(str(folder / "caf\udce9.jpg")))) == folder / "caf\udce9.jpg"
    assert find(tmp_path / "résumé" / escaped("caf\udce9.jpg")) == folder / "caf\udce9.jpg"
    assert find(folder / "a\\b.jpg") == find(folder / "a\\\\b.jpg") == folder / "a\\b.jpg"
    assert find(folder / "none.jpg") is None and find(tmp_path / "no/é.jpg") is None
    assert (
        find(folder / ("long" * 100)) is None and find(folder / "\0/a") is None and find(folder / r"\u0000/a") is None
    )


# as file names


@pytest.mark.parametrize(
    ("plain", "made"),
    [
        ("resnet50--demo--global", "resnet50--demo--global.json"),
        ("é@[x=1]", "é@[x=1].json"),
        ("a/b", f"a_b-{zlib.crc32(b'a/b'):08x}.json"),
        ("caf\udce9", f"caf_-{zlib.crc32(b'caf' + bytes([0xED, 0xB3, 0xA9])):08x}.json"),
    ],
)
def test_short_and_safe_texts_are_file_names_as_they_stand(plain: str, made: str) -> None:
    assert file_name(plain, ".json") == made


@given(st.one_of(texts, st.text("aé日", min_size=60, max_size=400)), st.integers(40, 255))
def test_file_names_are_short_and_safe(plain: str, limit: int) -> None:
    name = file_name(plain, ".json", limit)
    assert len(name.encode()) <= limit and name.endswith(".json") and not set(name) & set("/\\\0\r\n: ")


def test_long_texts_that_differ_at_their_ends_have_different_file_names() -> None:
    names = {file_name("x" * 300 + str(number), ".npz") for number in range(100)}
    assert len(names) == 100 and {len(name) for name in names} == {200}


# in sentences and files


def test_sentences_can_be_printed() -> None:
    sentence = str(DatasetError("the file caf\udce9\r\n.jpg of C:\\x is bad"))
    assert sentence == r"the file caf\xe9\r\n.jpg of C:\x is bad"
    assert told(OSError(errno.ENOSPC, "No space left", "caf\udce9")).startswith(r"No space left: caf\xe9; mend")
    assert told(OSError(errno.ENOSPC, "No space left", b"caf\xe9")).startswith(r"No space left: caf\xe9; mend")


def test_any_name_can_be_written_and_hashed(tmp_path: Path) -> None:
    write_text(tmp_path / "caf\udce9.csv", "caf\udce9 \ud800 é\r\n")
    assert (tmp_path / "caf\udce9.csv").read_bytes() == "caf\\xe9 \\ud800 é\r\n".encode()
    assert len({sha256_text(name) for name in ("caf\udce9", "caf\\xe9", "café", "\ud800")}) == 4


def test_what_is_no_regular_file_is_not_opened_to_be_hashed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket.jpg"))
        for path in (tmp_path / "fifo.jpg", tmp_path / "socket.jpg", Path("/dev/zero")):
            with pytest.raises(OSError, match="Not a regular file") as raised:
                sha256_file(path)
            assert str(raised.value.filename) == str(path)
    with pytest.raises(FileNotFoundError):
        sha256_file(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        sha256_file(tmp_path)
