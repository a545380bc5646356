"""Folders of files with any names and suffixes: images by their content, the rest counted, nothing special opened."""

import csv
import os
import socket
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from bench.errors import DatasetError
from bench.files import sha256_file
from bench.generate.subset import listed
from bench.interfaces import Split
from bench.listing import counted, together
from bench.names import escaped
from bench.plugins import datasets
from bench.sources import below, images_of
from tests.test_sources import encoded, shades

NFC, NFD = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))
#: Names that a file system takes and a terminal does not, one with as many bytes as it may have.
ODD = (os.fsdecode(b"caf\xe9.jpg"), "a\rb.jpg", "a\nb.jpg", "tab\t.jpg", "\x1b[31m.jpg", "back\\slash.jpg",
       "\u202egpj.jpg", NFC, NFD, "x" * 251 + ".jpg", " .jpg", "-rf.jpg", "😀.jpg", 'say "x", or y.jpg')  # fmt: skip


def written(folder: Path, names: Sequence[str], kind: str = "JPEG") -> Path:
    """Images of these names, the shade of each its place."""
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(shade, kind))
    return folder


def loaded(spec: str) -> Split:
    return datasets.select(spec)[0].item.load()


def positives(split: Split) -> dict[str, list[str]]:
    return {
        query.id: [split.database[row].id for row in rows]
        for query, rows in zip(split.queries, split.ground_truth.positives, strict=True)
    }


# by content


def test_one_picture_is_read_under_any_suffix_and_none(tmp_path: Path) -> None:
    suffixes = (
        ".jpg",
        ".JPEG",
        ".png",
        ".webp",
        ".dat",
        ".bak",
        ".jpg~",
        ".txt",
        ".download",
        ".1",
        ".php",
        ".heic",
        "",
    )
    written(tmp_path, [f"copy{number:02d}{suffix}" for number, suffix in enumerate(suffixes)])
    assert len(shades(tmp_path)) == len(suffixes) == 13
    assert images_of(str(tmp_path)).skipped == {}


def test_what_is_skipped_is_counted_by_suffix(tmp_path: Path) -> None:
    written(tmp_path, ["a.jpg", "sub/b"])
    for name in ("notes.txt", "sub/MORE.TXT", "README", "sub/x.tar", "broken.png", ".hidden.txt", "sub/.hidden"):
        (tmp_path / name).write_text("no image")
    source = images_of(str(tmp_path))
    assert [image.id for image in source.images] == ["a.jpg", "broken.png", "sub/b"]
    assert source.skipped == {"": 1, ".tar": 1, ".txt": 2} and source.unreadable == {}
    assert counted(source.skipped) == "2 .txt, 1 with no suffix, 1 .tar"
    numbered = {f".{number:02d}": 1 for number in range(99)}
    assert counted({**numbered, ".txt": 2}).startswith("2 .txt, 1 .00, 1 .01, ")
    assert counted({**numbered, ".txt": 2}).endswith(", 1 .08, 90 with 90 other suffixes")
    assert together(source.skipped, {".txt": 1, ".a": 1}) == {"": 1, ".a": 1, ".tar": 1, ".txt": 3}
    (tmp_path / "none").mkdir()
    (tmp_path / "none/a.txt").write_text("no image")
    with pytest.raises(DatasetError, match=r"holds no images but 1 \.txt: name a folder"):
        _ = images_of(str(tmp_path / "none")).images


@pytest.mark.parametrize("suffix", [".jpg", ".dat", ""])
def test_what_is_no_file_is_never_opened(suffix: str, tmp_path: Path) -> None:
    written(tmp_path, ["a.jpg"])
    os.mkfifo(tmp_path / f"fifo{suffix}")
    (tmp_path / f"link{suffix}").symlink_to(tmp_path / "nowhere")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / f"socket{suffix}"))
        begun = time.monotonic()
        listing = images_of(str(tmp_path)).listing
    assert time.monotonic() - begun < 2
    special = [f"{name}{suffix}" for name in ("device", "fifo", "link", "loop", "socket")]
    assert [image.id for image in listing.images] == ["a.jpg", *(special if suffix == ".jpg" else [])]
    assert listing.skipped == ({} if suffix == ".jpg" else {suffix: 5})


def test_a_folder_that_cannot_be_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "owl/deep/1.jpg", "owl/2.jpg"])
    refused = {tmp_path / "dog", tmp_path / "owl/deep"}
    iterdir = Path.iterdir

    def closed(path: Path) -> object:
        if path in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    listing = images_of(str(tmp_path)).listing
    assert [image.id for image in listing.images] == ["cat/1.jpg", "cat/2.jpg", "owl/2.jpg"]
    assert listing.unreadable == {
        f"{name}/": f"the folder {tmp_path / name} can't be read (Permission denied): correct it or leave it out"
        for name in ("dog", "owl/deep")
    }
    split = loaded(f"folder:{tmp_path}")
    assert {image.id: image.path for image in split.queries if image.id.endswith("/")} == {
        "dog/": tmp_path / "dog",
        "owl/deep/": tmp_path / "owl/deep",
    }
    refused.add(tmp_path)
    with pytest.raises(DatasetError, match="can't be read"):
        below(tmp_path)


def test_datasets_count_what_they_skip(tmp_path: Path) -> None:
    pairs = written(tmp_path / "pairs", ["q", "r"])
    (pairs / "pairs.csv").write_text("query,reference\nq,r\n")
    (pairs / "manifest.json").write_text("{}")
    (pairs / "sub").mkdir()
    (pairs / "sub" / "pairs.csv").write_text("")
    assert loaded(f"pairs:{pairs}").skipped == images_of(f"pairs:{pairs}").skipped == {".csv": 1}
    disc = written(tmp_path / "disc", ["queries/q.bin", "references/r"])
    (disc / "ground_truth.csv").write_text("query_id,reference_id\nq,r\n")
    for role in ("queries", "references"):
        (disc / role / "list.txt").write_text("")
    assert positives(loaded(f"disc:{disc}")) == {"queries/q": ["references/r"]}
    assert loaded(f"disc:{disc}").skipped == {".txt": 2}
    classes = written(tmp_path / "classes", ["a/1", "a/2.jpg", "b/1.dat"])
    (classes / "README").write_text("text")
    assert positives(loaded(f"folder:{classes}")) == {"a/1": ["a/2.jpg"], "a/2.jpg": ["a/1"], "b/1.dat": []}
    assert loaded(f"folder:{classes}").skipped == {"": 1}


# names


def test_names_of_any_bytes_are_read_and_printable(tmp_path: Path) -> None:
    written(tmp_path, ODD)
    found = shades(tmp_path)
    assert found == {escaped(name): shade for shade, name in enumerate(ODD)}
    assert {image.path for image in images_of(str(tmp_path)).images} == {tmp_path / name for name in ODD}
    assert all(name.encode() and not any(map(str.isspace, name.replace(" ", ""))) for name in found)
    assert (
        r"caf\xe9.jpg" in found and r"a\rb.jpg" in found and r"\u202egpj.jpg" in found and NFC in found and NFD in found
    )


@pytest.mark.parametrize("written_as", [escaped, str])
def test_pairs_are_found_by_names_of_any_bytes(written_as: type[str], tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"s\xe9t")
    names = [name for name in ODD if written_as is escaped or not any(map(_is_surrogate, name))]
    written(folder, [*(f"q/{name}" for name in names), *(f"r/{name}" for name in names)])
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(
            [("query", "reference"), *((written_as(f"q/{n}"), written_as(f"r/{n}")) for n in names)]
        )
    (dataset,) = datasets.select(f"pairs:{folder}")
    assert (dataset.item.name, dataset.item.identity) == (r"pairs:s\xe9t", rf"pairs:{tmp_path}/s\xe9t")
    assert positives(dataset.item.load()) == {escaped(f"q/{name}"): [escaped(f"r/{name}")] for name in names}


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFC, NFD), (NFD, NFC)])
def test_tables_and_disks_may_differ_in_the_form_of_their_letters(on_disk: str, in_table: str, tmp_path: Path) -> None:
    stem = {name: name.removesuffix(".jpg") for name in (on_disk, in_table)}
    pairs = written(tmp_path / "pairs", [on_disk, "r.jpg"])
    (pairs / "pairs.csv").write_text(f"query,reference\n{in_table},./r.jpg\n")
    assert positives(loaded(f"pairs:{pairs}")) == {on_disk: ["r.jpg"]}
    disc = written(tmp_path / "disc", [f"queries/{on_disk}", f"references/{on_disk}"])
    (disc / "ground_truth.csv").write_text(f"query_id,reference_id\n{stem[in_table]},{stem[in_table]}\n")
    assert positives(loaded(f"disc:{disc}")) == {f"queries/{stem[on_disk]}": [f"references/{stem[on_disk]}"]}
    (pairs / "list.csv").write_text(f"path\n{in_table}\nr.jpg\n")
    assert [(image.id, image.path) for image in images_of(f"{pairs}/list.csv").images] == [
        (in_table, pairs / on_disk),
        ("r.jpg", pairs / "r.jpg"),
    ]


def test_a_name_that_two_images_have_in_nfc_is_not_guessed(tmp_path: Path) -> None:
    written(tmp_path, ["u\u0323\u0302.jpg", "\u1ee5\u0302.jpg", "r.jpg"])  # one letter in two of its forms
    (tmp_path / "pairs.csv").write_text("query,reference\nu\u0302\u0323.jpg,r.jpg\n")
    with pytest.raises(DatasetError, match="line 2: there is no image"):
        loaded(f"pairs:{tmp_path}")


# lists


def test_a_list_of_names_of_any_bytes_reads_back(tmp_path: Path) -> None:
    folder = written(tmp_path / os.fsdecode(b"s\xe9t\\x"), ODD)
    images = images_of(str(folder)).images
    hashed = {image.id: sha256_file(image.path) for image in images}
    (tmp_path / "list.csv").write_text(listed(images, hashed), newline="")
    assert images_of(f"{tmp_path}/list.csv").images == images
    paths = [escaped(str(image.path.relative_to(tmp_path))) for image in images]
    with (tmp_path / "paths.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path",), *((path,) for path in paths)])
    found = images_of(f"{tmp_path}/paths.csv").images
    assert [image.path for image in found] == [image.path for image in images] and [i.id for i in found] == paths


def test_a_list_names_its_images_by_their_paths_as_text(tmp_path: Path) -> None:
    written(tmp_path, ["a\\b.jpg", "x\ny.jpg", "z.jpg"])
    (tmp_path / "list.csv").write_text('path,id\na\\b.jpg,\n"x\ny.jpg",\nz.jpg,"own\nid"\nnone.jpg,\n')
    assert [(image.id, image.path.name) for image in images_of(f"{tmp_path}/list.csv").images] == [
        (r"a\\b.jpg", "a\\b.jpg"),
        (r"x\ny.jpg", "x\ny.jpg"),
        (r"own\nid", "z.jpg"),
        ("none.jpg", "none.jpg"),
    ]
    (tmp_path / "list.csv").write_text("path,id\nz.jpg,1\n,2\n")
    with pytest.raises(DatasetError, match=r"list\.csv, line 3, has no path: fill it"):
        _ = images_of(f"{tmp_path}/list.csv").images


def test_tables_that_are_no_files_are_not_opened(tmp_path: Path) -> None:
    for name in ("list.csv", "pairs.csv"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(DatasetError, match=r"list\.csv is no regular file"):
        _ = images_of(f"{tmp_path}/list.csv").images
    with pytest.raises(DatasetError, match=r"there is no ground truth .*pairs\.csv"):
        loaded(f"pairs:{tmp_path}")


def test_a_list_opens_no_fifo_for_its_hash(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    long = "long" * 100
    (tmp_path / "list.csv").write_text(f"path,sha256\nfifo.jpg,0\n{long},0\n")
    assert [image.id for image in images_of(f"{tmp_path}/list.csv").images] == ["fifo.jpg", long]
    (tmp_path / "list.csv").write_text("path,sha256\na.jpg,0\n")
    with pytest.raises(DatasetError, match="is not the one in"):
        _ = images_of(f"{tmp_path}/list.csv").images
