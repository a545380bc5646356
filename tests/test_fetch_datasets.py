"""`fetch datasets` and `datasets verify`, on real archives from a real server, cut and killed anywhere."""

import hashlib
import io
import itertools
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from bench import fetch, plugins
from bench.cli import app
from bench.errors import DatasetError, UsageError
from bench.fetch import Fetched
from bench.interfaces import Dataset, GroundTruth, ImageFile, Split
from bench.manifest import manifest
from bench.published import Download, Published
from bench.verify import Count, Verified, verify
from tests.serving import Handler, Server, serving
from tests.test_archives import tar_of, zip_of


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((8 + number, 8), 50).save(stream, "PNG")
    return stream.getvalue()


IMAGES = {f"{number}.png": png(number) for number in range(4)}
FIRST = {f"jpg/{name}": IMAGES[name] for name in list(IMAGES)[:2]} | {"README": random.Random(0).randbytes(30_000)}
SECOND = {f"jpg/{name}": IMAGES[name] for name in list(IMAGES)[2:]}
LIST = " ".join(IMAGES).encode()
SERVED = {
    "/first.zip": zip_of(FIRST),
    "/other/second.tgz": tar_of({"second.tar": tar_of(SECOND), "notes/n.txt": b"n"}, "w:gz"),
    "/list.txt?download=1": LIST,
}
CLEAN = FIRST | SECOND | {"notes/n.txt": b"n", "gt/list.txt": LIST}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Tiny(Published):
    """gt/list.txt names the images; the first is the query, the second its positive."""

    junk: tuple[int, ...] = field(default=(), kw_only=True)
    junk_of_setup: tuple[int, ...] = field(default=(), kw_only=True)

    def read(self) -> Split:
        listed = self.folder / "gt/list.txt"
        if not listed.is_file():
            raise DatasetError(f"there is no {listed}: {self.how_to_get}")
        files = tuple(ImageFile(name, self.folder / "jpg" / name) for name in listed.read_text().split())
        easy, hard = (
            GroundTruth((np.array([1]),), (np.array(junk, np.int64),)) for junk in (self.junk, self.junk_of_setup)
        )
        return Split(files[:1], files, easy, {"H": hard})


def tiny(address: str, folder: Path, **changed: object) -> Tiny:
    made = Tiny(
        "tiny",
        "retrieval",
        "for tests",
        directory=folder / "tiny",
        layout="jpg/*.png and gt/list.txt",
        homepage="https://tiny.example",
        licence="CC0-1.0",
        citation="Nobody",
        downloads=(
            Download(f"{address}/first.zip", ".", True, 0.1, sha256=sha256(SERVED["/first.zip"])),
            Download(
                f"{address}/other/second.tgz",
                "jpg/..",
                True,
                0.1,
                md5=hashlib.md5(SERVED["/other/second.tgz"]).hexdigest(),
                inner=("second.tar",),
            ),
            Download(f"{address}/list.txt?download=1", "gt/list.txt", False),
        ),
        counts={"n_queries": 1, "n_database": 4, "n_junk": 0},
    )
    return replace(made, **changed)  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(b"") as running:
        running.files = dict(SERVED)
        yield running


def nobody(name: str, received: int, total: int | None) -> None:
    """Watches nothing."""


def fetched(dataset: Dataset, watch: fetch.Watch = nobody) -> Fetched:
    return fetch.datasets([dataset], watch)[0]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def data(folder: Path) -> dict[str, bytes]:
    """What the dataset's folder holds, and nothing lies beside it."""
    assert {path.name for path in folder.iterdir()} <= {"tiny"}
    return {name.removeprefix("tiny/"): content for name, content in tree(folder).items()}


# --- fetching


def test_downloads_of_every_kind_make_the_published_folder_once(server: Server, tmp_path: Path) -> None:
    dataset, seen = tiny(server.address, tmp_path), list[tuple[str, int, int | None]]()
    result = fetched(dataset, lambda *progress: seen.append(progress))
    hashes = {f"{server.address}{path}": (sha256(content), len(content)) for path, content in SERVED.items()}
    found = data(tmp_path)
    noted = json.loads(found.pop("downloads.json"))
    assert found == CLEAN and {url: (note["sha256"], note["bytes"]) for url, note in noted.items()} == hashes
    assert result.outcome == "fetched" and result.path == tmp_path / "tiny" and not result.problem
    assert sorted(result.sha256) == sorted(value for value, _ in hashes.values())
    assert result.n_bytes == sum(map(len, SERVED.values()))
    size = len(SERVED["/first.zip"])
    assert ("tiny first.zip", size, size) in seen and (
        "tiny first.zip, unpacked",
        len(FIRST["jpg/0.png"]),
        None,
    ) in seen
    before = len(server.gets)
    assert fetched(dataset) == replace(result, outcome="here") and len(server.gets) == before == 3
    assert len(dataset.load().database) == 4


def test_what_was_brought_by_hand_is_not_downloaded(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    for name, content in CLEAN.items():
        (tmp_path / "tiny" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tiny" / name).write_bytes(content)
    assert fetched(dataset) == Fetched("tiny", "here", tmp_path / "tiny") and not server.gets
    assert data(tmp_path) == CLEAN


@dataclass(frozen=True)
class Listed(Tiny):
    """Its folder is the list of its images."""

    def read(self) -> Split:
        names = sorted(path.name for path in (self.folder / "jpg").glob("*.png"))
        files = tuple(ImageFile(name, self.folder / "jpg" / name) for name in names)
        return Split(files[:1], files, GroundTruth((np.array([1]),), (np.array([], np.int64),)))


def listed(address: str, folder: Path, **changed: object) -> Listed:
    return Listed(**vars(tiny(address, folder, **changed)))


def test_what_was_brought_by_hand_in_part_is_fetched(server: Server, tmp_path: Path) -> None:
    """Where the folders themselves are the list, the published counts tell."""
    dataset = listed(server.address, tmp_path)
    for name in ("jpg/0.png", "jpg/1.png", "gt/list.txt"):
        (tmp_path / "tiny" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tiny" / name).write_bytes(CLEAN[name])
    assert fetched(replace(dataset, counts={"n_database": 2})).outcome == "here" and not server.gets
    assert fetched(replace(dataset, counts={"n_database": 4})).outcome == "fetched" and len(server.gets) == 2


def test_an_image_that_no_list_names_is_missed_by_the_published_counts(server: Server, tmp_path: Path) -> None:
    dataset = listed(server.address, tmp_path)
    fetched(dataset)
    whole = tree(tmp_path)
    (tmp_path / "tiny/jpg/2.png").unlink()
    assert fetched(dataset).outcome == "fetched" and tree(tmp_path) == whole
    asked = len(server.gets)
    assert fetched(dataset).outcome == "here" and len(server.gets) == asked


def test_other_counts_than_the_published_ones_are_told(server: Server, tmp_path: Path) -> None:
    dataset = listed(server.address, tmp_path, counts={"n_queries": 1, "n_database": 5, "n_pairs": 7})
    for _ in range(2):
        result = fetched(dataset)
        assert result.outcome == "failed"
        assert "n_database is 4, published are 5 and n_pairs is 1, published are 7" in result.problem
        assert f"bring what is missing from https://tiny.example, or delete {tmp_path}/tiny/downl" in result.problem
    assert data(tmp_path).items() >= CLEAN.items()


def test_a_download_of_nothing_leaves_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "download", partial(fetch.download, waits=()))
    server.files["/first.zip"] = b""
    result = fetched(tiny(server.address, tmp_path))
    assert result.outcome == "failed" and "0 of 0 bytes came" in result.problem and not any(tmp_path.iterdir())


def test_without_a_network_nothing_is_waited_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = fetched(tiny(server.address, tmp_path))
    assert result.outcome == "failed" and not server.asked and data(tmp_path) == {}
    assert "first.zip could not be downloaded (downloads are switched off" in result.problem
    assert f"get it from https://tiny.example; expected in {tmp_path}/tiny: jpg/*.png" in result.problem


def test_only_what_is_missing_is_fetched_again(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    fetched(dataset)
    whole = tree(tmp_path)
    (tmp_path / "tiny/gt/list.txt").unlink()
    assert fetched(dataset).outcome == "fetched" and [asked.path for asked in server.gets[3:]] == [
        "/list.txt?download=1"
    ]
    (tmp_path / "tiny/jpg/0.png").unlink()
    assert fetched(dataset).outcome == "fetched" and tree(tmp_path) == whole
    assert "/list.txt?download=1" not in [asked.path for asked in server.gets[4:]]


def cut(after: int) -> Callable[[Handler], None]:
    return lambda handler: handler.wfile.write(handler.begin_honestly()[:after]) and None


def forked(work: Callable[[], object]) -> int:
    """The process id of a copy of this one, which does the work and ends."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a copy that hangs is ended
        try:
            os._exit(bool(work()))
        finally:
            os._exit(2)
    return child


def ended(child: int) -> int:
    """How a process ended: its exit code, or -9 if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_download_that_was_killed_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    server.faults = [cut(20_000)]
    killed = forked(lambda: fetched(dataset, lambda name, done, total: kill_myself() if done == 20_000 else None))
    assert ended(killed) == -9
    assert not (tmp_path / "tiny").exists()
    assert fetched(dataset).outcome == "fetched" and data(tmp_path).items() >= CLEAN.items()
    first, resumed, *others = [asked.range for asked in server.gets]
    assert first is None and resumed is not None and 0 < int(resumed[6:-1]) <= 20_000 and others == [None, None]


def changes_the_disk(event: str, arguments: tuple[Any, ...]) -> bool:
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
    return bool(opened) or event in {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}


Moment = Callable[[str, tuple[Any, ...]], bool]


def fetch_and_die(dataset: Tiny, moment: Moment) -> None:
    """Be killed just before the call that is the moment; Python tells of each that changes the disk."""
    sys.addaudithook(lambda event, arguments: kill_myself() if moment(event, arguments) else None)
    fetched(dataset)


def change(number: int) -> Moment:
    changes = itertools.count(1)
    return lambda event, arguments: changes_the_disk(event, arguments) and next(changes) == number


def the_note(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "os.rename" and str(arguments[1]).endswith("tiny/downloads.json")


def test_killed_when_all_was_unpacked_and_not_noted(server: Server, tmp_path: Path) -> None:
    """It is not taken for a copy that was brought by hand."""
    server.files["/all.zip"] = zip_of(CLEAN)
    dataset = tiny(server.address, tmp_path, downloads=(Download(f"{server.address}/all.zip", ".", True),))
    assert ended(forked(partial(fetch_and_die, dataset, the_note))) == -9
    assert dataset.load() and not (tmp_path / "tiny/downloads.json").exists()
    assert fetched(dataset).outcome == "fetched" and len(server.gets) == 1
    assert data(tmp_path).keys() == {*CLEAN, "downloads.json"}


def test_killed_before_any_change_of_the_disk_the_next_call_makes_the_same(server: Server, tmp_path: Path) -> None:
    """A copy of this process is killed before its first change, another one before its second, and so on."""

    def smaller(folder: Path) -> Tiny:
        """The archive is unpacked into a folder that is there."""
        folder.mkdir()
        dataset = tiny(server.address, folder)
        return replace(dataset, downloads=dataset.downloads[:0:-1], counts={"n_database": 2})

    server.files["/list.txt?download=1"] = b"2.png 3.png"
    assert fetched(smaller(tmp_path / "clean")).outcome == "fetched"
    clean = data(tmp_path / "clean")
    assert clean.keys() == {"jpg/2.png", "jpg/3.png", "notes/n.txt", "gt/list.txt", "downloads.json"}
    for step in itertools.count(1):
        folder = tmp_path / str(step)
        dataset = smaller(folder)
        killed = ended(forked(partial(fetch_and_die, dataset, change(step))))
        # a file that is in the dataset's folder is whole
        there = {name.removeprefix("tiny/"): c for name, c in tree(folder).items() if name.startswith("tiny/")}
        assert {name: content for name, content in there.items() if name != "downloads.json"}.items() <= clean.items()
        assert fetched(dataset).outcome in {"fetched", "here"} and data(folder) == clean
        if killed != -9:
            break
    assert killed == 0 and step > 30


def test_files_of_one_name_from_two_addresses_are_told_apart(server: Server, tmp_path: Path) -> None:
    """The first is fetched again while the second still lies there, whose removal was interrupted."""
    server.files |= {"/a/set.zip": SERVED["/first.zip"], "/b/set.zip": zip_of(SECOND)}
    dataset = tiny(server.address, tmp_path)
    sets = (Download(f"{server.address}/{folder}/set.zip", ".", True) for folder in "ab")
    dataset = replace(dataset, downloads=(dataset.downloads[2], *sets))

    def second_is_removed(event: str, arguments: tuple[Any, ...]) -> bool:
        return event == "os.remove" and str(arguments[0]).endswith("set.zip") and (tmp_path / "tiny/jpg/3.png").exists()

    assert ended(forked(partial(fetch_and_die, dataset, second_is_removed))) == -9
    (tmp_path / "tiny/README").write_bytes(b"")
    (tmp_path / "tiny/jpg/0.png").unlink()
    assert fetched(dataset).outcome == "fetched"
    found = data(tmp_path)
    assert found.pop("downloads.json") and found == FIRST | SECOND | {"gt/list.txt": LIST}


def test_of_two_processes_one_fetches(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)

    def slow(handler: Handler) -> None:
        server.over.wait(0.3)
        handler.serve()

    server.faults = [slow] * 3
    children = [forked(lambda: fetched(dataset).problem) for _ in range(3)]
    assert [ended(child) for child in children] == [0, 0, 0]
    assert len(server.gets) == 3 and data(tmp_path).items() >= CLEAN.items()


@pytest.mark.parametrize(("path", "digits"), [("/first.zip", 64), ("/first.zip", 8), ("/other/second.tgz", 0)])
def test_another_file_than_the_published_one_is_refused(path: str, digits: int, server: Server, tmp_path: Path) -> None:
    """By its sha256 or the first digits of it, or by its md5 where that alone was published."""
    dataset = tiny(server.address, tmp_path)
    first, *others = dataset.downloads
    dataset = replace(dataset, downloads=(replace(first, sha256=str(first.sha256)[: digits or 64]), *others))
    server.files[path] += b"changed"
    result = fetched(dataset)
    told = (f"sha256 is {sha256(server.files[path])[:16]}", sha256(SERVED[path])[: min(digits, 16)])
    kind, expected = told if digits else ("md5 is", hashlib.md5(SERVED[path]).hexdigest())
    assert result.outcome == "failed"
    assert f"{server.address}{path} is not the file that it should be (its {kind}" in result.problem
    assert f"expected {expected}" in result.problem
    assert not (tmp_path / ".tiny.fetching").exists() and not (tmp_path / "tiny/gt").exists()
    server.files = dict(SERVED)
    assert fetched(dataset).outcome == "fetched" and data(tmp_path).items() >= CLEAN.items()


def test_a_file_without_a_published_hash_stays_the_one_that_was_first_fetched(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    fetched(dataset)
    listed = tmp_path / "tiny/gt/list.txt"
    listed.unlink()
    server.files["/list.txt?download=1"] = LIST + b" "
    result = fetched(dataset)
    assert result.outcome == "failed" and not listed.exists()
    assert f"expected {sha256(LIST)[:16]}...); to accept it delete {tmp_path}/tiny/downloads.json" in result.problem
    listed.write_bytes(LIST + b" ")
    found = verify(dataset)
    assert found.state == "different" and f"its sha256 is {sha256(LIST + b' ')[:16]}" in found.problems[0]
    (tmp_path / "tiny/downloads.json").unlink()
    assert fetched(dataset).outcome == "here" and verify(dataset).state == "complete"


def test_a_file_by_hand_that_is_not_the_published_one_is_told(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    pinned = replace(dataset.downloads[2], sha256=sha256(LIST))
    (tmp_path / "tiny/gt").mkdir(parents=True)
    (tmp_path / "tiny/gt/list.txt").write_bytes(b"mine")
    result = fetched(replace(dataset, downloads=(pinned,)))
    assert result.outcome == "failed" and not server.gets
    assert f"{tmp_path}/tiny/gt/list.txt is not the file that is to be fetched (its sha256 is" in result.problem
    assert (tmp_path / "tiny/gt/list.txt").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (tar_of({"jpg/a.png": b"a", "../x": b"x"}), "its member '../x' would lie outside the folder"),
        (zip_of({"/x": b"x"}), "its member '/x' would lie outside the folder"),
        (b"not an archive", "is damaged, or no zip or tar archive"),
    ],
)
def test_a_bad_archive_leaves_nothing_and_is_not_kept(archive: bytes, why: str, server: Server, tmp_path: Path) -> None:
    server.files["/first.zip"] = archive
    dataset = tiny(server.address, tmp_path)
    unpinned = replace(dataset.downloads[0], sha256=None)
    dataset = replace(dataset, downloads=(unpinned, *dataset.downloads[1:]))
    result = fetched(dataset)
    assert result.outcome == "failed" and why in result.problem and "\n" not in result.problem
    assert data(tmp_path) == {}
    server.files = dict(SERVED)
    assert fetched(dataset).outcome == "fetched"


def test_what_was_received_stays_when_a_later_file_fails(server: Server, tmp_path: Path) -> None:
    """The first is there for good, of the second a part, which the next call goes on with."""
    dataset = tiny(server.address, tmp_path)

    def cut_and_gone(handler: Handler) -> None:
        cut(100)(handler)
        server.refused["/other/second.tgz"] = 404

    server.faults = [Handler.serve, cut_and_gone]
    result = fetched(dataset)
    assert result.outcome == "failed" and "404" in result.problem
    left = {
        name.rpartition("-")[2] for name in tree(tmp_path) if name.startswith(".tiny.fetching") and "lock" not in name
    }
    assert left == {"second.tgz.part", "second.tgz.part.json"} and (tmp_path / "tiny/jpg/0.png").is_file()
    server.refused = {}
    assert fetched(dataset).outcome == "fetched" and data(tmp_path).items() >= CLEAN.items()
    assert [asked.range for asked in server.gets[-2:]] == ["bytes=100-", None]


def test_what_is_whole_is_not_fetched_again_when_a_later_file_failed(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    listed, first, second = (dataset.downloads[number] for number in (2, 0, 1))
    dataset = replace(dataset, downloads=(listed, first, second))
    server.refused = {"/other/second.tgz": 404}
    assert fetched(dataset).outcome == "failed"
    server.refused = {}
    assert fetched(dataset).outcome == "fetched"
    assert [asked.path for asked in server.gets[2:]] == ["/other/second.tgz"] * 2


def test_a_file_that_no_image_needs_is_fetched_as_well(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    more = Download(f"{server.address}/licence.txt", "licence.txt", False)
    dataset = replace(dataset, downloads=(*dataset.downloads, more))
    server.files["/licence.txt"], server.refused = b"CC0", {"/licence.txt": 404}
    assert fetched(dataset).outcome == "failed" and dataset.load()
    server.refused = {}
    assert fetched(dataset).outcome == "fetched" and (tmp_path / "tiny/licence.txt").read_bytes() == b"CC0"


def test_too_little_space_is_told_before_anything_is_downloaded(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    large = replace(dataset.downloads[0], megabytes=1e12)
    result = fetched(replace(dataset, downloads=(large,)))
    assert "tiny needs about 2,000,000,000,000 MB in" in result.problem and "make room" in result.problem
    assert result.outcome == "failed" and not server.gets and data(tmp_path) == {}


def test_downloads_that_are_not_the_whole_dataset_are_told(server: Server, tmp_path: Path) -> None:
    """As where the ground truth is public and the images are not."""
    dataset = tiny(server.address, tmp_path)
    dataset = replace(dataset, downloads=dataset.downloads[2:])
    for _ in range(2):
        result = fetched(dataset)
        assert result.outcome == "failed" and "lacks jpg/0.png, jpg/1.png, jpg/2.png and 1 more" in result.problem
        assert "bring what is missing from https://tiny.example" in result.problem
    assert len(server.gets) == 1 and (tmp_path / "tiny/gt/list.txt").read_bytes() == LIST


def test_a_damaged_note_is_one_sentence(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    fetched(dataset)
    for text in ("{", "[1]"):
        (tmp_path / "tiny/downloads.json").write_text(text)
        assert "downloads.json is not as it was written" in fetched(dataset).problem


def test_a_folder_that_is_a_link_to_another_place_is_filled_there(server: Server, tmp_path: Path) -> None:
    (tmp_path / "disk/there").mkdir(parents=True)
    (tmp_path / "tiny").symlink_to(tmp_path / "disk/there")
    assert fetched(tiny(server.address, tmp_path)).outcome == "fetched"
    assert tree(tmp_path / "disk/there").items() >= CLEAN.items() and (tmp_path / "tiny").is_symlink()
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {"there"}  # no file changes disks


# --- verifying


def here(folder: Path, server: Server) -> Tiny:
    dataset = tiny(server.address, folder)
    fetched(dataset)
    return dataset


def test_a_complete_dataset(server: Server, tmp_path: Path) -> None:
    dataset = here(tmp_path, server)
    counts = {"n_queries": Count(1, 1), "n_database": Count(4, 4), "n_pairs": Count(1, None), "n_junk": Count(0, 0)}
    expected = manifest(dataset.load()).sha256
    assert verify(dataset) == Verified("tiny", "complete", counts, expected)


def test_missing_and_unreadable_images_are_named(server: Server, tmp_path: Path) -> None:
    dataset = here(tmp_path, server)
    (tmp_path / "tiny/jpg/1.png").write_bytes(b"")
    (tmp_path / "tiny/jpg/3.png").write_bytes(b"<html>")
    whole = tmp_path / "tiny/jpg/2.png"
    whole.write_bytes(whole.read_bytes()[:-40])  # its header is good
    found = verify(dataset)
    assert found.state == "different" and found.unreadable == ("jpg/1.png", "jpg/2.png", "jpg/3.png")
    assert not found.missing
    assert found.manifest_sha256 == manifest(dataset.load()).sha256
    (tmp_path / "tiny/jpg/0.png").unlink()
    found = verify(dataset)
    assert found.state == "incomplete" and found.missing == ("jpg/0.png",) and found.manifest_sha256 is None
    assert found.counts["n_database"] == Count(4, 4)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"counts": {"n_database": 5}}, "n_database is 4, published are 5"),
        ({"junk": (1,), "counts": {}}, "query 0 has an image that is both positive and junk: it can be only one"),
        ({"junk_of_setup": (1,)}, "setup H: query 0 has an image that is both positive and junk"),
        ({"junk_of_setup": (4,)}, "setup H: the ground truth of query 0 names images outside the database of 4"),
    ],
)
def test_what_is_not_as_published_is_a_sentence(
    changed: Mapping[str, object], problem: str, server: Server, tmp_path: Path
) -> None:
    here(tmp_path, server)
    found = verify(tiny(server.address, tmp_path, **changed))
    assert found.state == "different" and len(found.problems) == 1 and problem in found.problems[0]


def test_a_dataset_without_its_ground_truth_or_folder(server: Server, tmp_path: Path) -> None:
    dataset = tiny(server.address, tmp_path)
    found = verify(dataset)
    assert found.state == "not here" and f"`bench fetch datasets tiny:{tmp_path}/tiny`; exp" in found.problems[0]
    (tmp_path / "tiny").mkdir()
    found = verify(dataset)
    assert found.state == "different" and f"there is no {tmp_path}/tiny/gt/list.txt" in found.problems[0]


# --- the command line


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten afterwards."""
    plugins.datasets.entries()
    monkeypatch.setattr(plugins.datasets, "_entries", dict(plugins.datasets._entries))
    yield


def registered(name: str, dataset: Dataset) -> None:
    def make() -> Dataset:
        return replace(dataset, name=name)

    make.__name__ = name
    plugins.register_dataset(groups=("tinies",))(make)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(shown: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in shown.splitlines()]
    return {row[0]: row[1:] for row in cells if row}


def test_each_failure_alone(server: Server, tmp_path: Path, registry: None) -> None:
    good = tiny(server.address, tmp_path)
    gone = Download(f"{server.address}/gone.zip", ".", True)
    server.refused["/gone.zip"] = 404
    registered("tiny_gone", replace(good, downloads=(gone,), directory=tmp_path / "gone"))
    registered("tiny_hand", replace(good, downloads=(), directory=tmp_path / "hand"))
    registered("tiny_good", good)
    ran = call("fetch", "datasets", "tinies,demo_copies")
    assert ran.exit_code == 3
    found = rows(ran.stdout)
    megabytes = f"{sum(map(len, SERVED.values())) / 1e6:.1f}"
    assert found["tiny_good"] == ["fetched", megabytes, "3 files", f"{tmp_path}/tiny"]
    assert found["tiny_gone"] == ["failed"] and found["tiny_hand"] == ["by hand"]
    assert found["demo_copies"] == ["nothing to fetch"]
    assert "tiny_gone: http" in ran.stdout and "404" in ran.stdout
    assert "get it from https://tiny.example; expected in" in ran.stdout and "jpg/*.png and gt/list.txt" in ran.stdout
    assert call("fetch", "datasets", "tiny_go?d,demo_retrieval").exit_code == 0
    assert call("fetch", "datasets", "tiny_hand").exit_code == 3


def test_wrong_calls(tmp_path: Path, registry: None) -> None:
    for arguments, why in [
        (("fetch", "datasets"), "no dataset was chosen: name some, or a group"),
        (("fetch", "datasets", "tinny_"), "there is no dataset 'tinny_'"),
        (("fetch", "datasets", "demo", "--weights-dir", tmp_path), "--weights-dir is for backbones"),
        (("datasets", "verify", "dmeo_copies"), "did you mean demo_copies"),
    ]:
        ran = call(*arguments)
        assert isinstance(ran.exception, UsageError) and why in str(ran.exception)


def test_verify_names_ten_on_the_console_and_all_in_json(server: Server, tmp_path: Path, registry: None) -> None:
    many = {f"{number:02d}.png": png(number) for number in range(13)}
    server.files["/list.txt?download=1"] = " ".join(many).encode()
    downloads = tiny(server.address, tmp_path).downloads[2:]
    incomplete = tiny(server.address, tmp_path, downloads=downloads, counts={"n_database": 14})
    fetched(incomplete)
    registered("tiny_many", incomplete)
    (tmp_path / "disc/queries").mkdir(parents=True)
    (tmp_path / "disc/references").mkdir()
    (tmp_path / "disc/queries/q.png").write_bytes(png(1))
    (tmp_path / "disc/references/r.png").write_bytes(png(2))
    (tmp_path / "disc/ground_truth.csv").write_text("query_id,reference_id\nq,r\n")
    ran = call("datasets", "verify", f"disc:{tmp_path}/disc,tiny_many")
    assert ran.exit_code == 3
    found = rows(ran.stdout)
    assert found["disc:disc"][:2] == ["complete", "n_queries 1, n_database 1, n_pairs 1"]
    assert found["tiny_many"] == ["incomplete", "n_queries 1, n_database 13 of 14, n_pairs 1"]
    named = ", ".join(f"jpg/{name}" for name in list(many)[:10])
    assert f"tiny_many: missing (13): {named} and 3 more" in ran.stdout
    assert "tiny_many: n_database is 13, published are 14" in ran.stdout
    disc, verified = json.loads(call("datasets", "verify", f"disc:{tmp_path}/disc,tiny_many", "--json").stdout)
    assert verified["missing"] == [f"jpg/{name}" for name in many]
    assert verified["counts"]["n_database"] == {"found": 13, "published": 14} and verified["manifest_sha256"] is None
    assert disc["state"] == "complete" and len(disc["manifest_sha256"]) == 64
    assert call("datasets", "verify", f"disc:{tmp_path}/disc").exit_code == 0
    (tmp_path / "disc/ground_truth.csv").write_text("query_id,reference_id\nq,x\n")
    ran = call("datasets", "verify", f"disc:{tmp_path}/disc")
    assert ran.exit_code == 3 and "ground_truth.csv, line 2: there is no reference image 'x'" in ran.stdout


def test_a_dataset_of_a_plugin_file(tmp_path: Path, registry: None) -> None:
    (tmp_path / "mine.py").write_text(
        """
from pathlib import Path

from bench.interfaces import Dataset
from bench.plugins import register_dataset
from tests.test_fetch_datasets import tiny


@register_dataset()
def tiny_of_plugin() -> Dataset:
    return tiny("", Path(__file__).parent, name="tiny_of_plugin", downloads=())
"""
    )
    ran = call("datasets", "verify", "tiny_of_plugin", "--plugin", tmp_path / "mine.py")
    assert ran.exit_code == 3 and rows(ran.stdout)["tiny_of_plugin"] == ["not here"]
    ran = call("fetch", "datasets", "tiny_of_plugin", "--plugin", tmp_path / "mine.py")
    assert ran.exit_code == 3 and rows(ran.stdout)["tiny_of_plugin"] == ["by hand"]
    assert f"get it from https://tiny.example; expected in {tmp_path}/tiny: jpg/*.png" in ran.stdout


def test_a_dataset_that_is_made_here_is_verified_too() -> None:
    ran = call("datasets", "verify", "demo_retrieval")
    assert ran.exit_code == 0 and rows(ran.stdout)["demo_retrieval"][0] == "complete"
