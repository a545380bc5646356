"""Where images come from: folders, datasets, webdataset shards and parquet files, in their true formats."""

import csv
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from bench import paths
from bench.cli import app
from bench.errors import DatasetError, UsageError
from bench.images import decode
from bench.plugins import datasets
from bench.sources import images_of

HF_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def encoded(shade: int, suffix: str = "JPEG") -> bytes:
    """A flat image of one shade of grey, by which it is known again."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(stream, suffix)
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def tar(path: Path, files: Iterable[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            info = member(name) if isinstance(name, str) else name
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def shard(path: Path, keys: Iterable[str], shade: int = 0) -> Path:
    """A shard as webdataset's writer makes it: the files of a sample side by side, and more than its image."""
    samples = [(key, shade + number) for number, key in enumerate(keys)]
    files = [
        [(f"{key}.jpg", encoded(value)), (f"{key}.json", json.dumps({"v": value}).encode()), (f"{key}.txt", b"grey")]
        for key, value in samples
    ]
    return tar(path, [file for sample in files for file in sample])


def table(path: Path, images: Sequence[bytes | None], column: str = "image", rows: int | None = None) -> Path:
    """A parquet file as the datasets library of Hugging Face writes it: a struct of bytes and path, and its note."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [None if image is None else {"bytes": image, "path": f"{i}.jpg"} for i, image in enumerate(images)]
    written = pa.table({"label": pa.array(range(len(images))), column: pa.array(values, HF_IMAGE)})
    note = {"info": {"features": {"label": {"dtype": "int64", "_type": "Value"}, column: {"_type": "Image"}}}}
    pq.write_table(written.replace_schema_metadata({"huggingface": json.dumps(note)}), path, row_group_size=rows)
    return path


def shades(spec: object) -> dict[str, int]:
    """The images of a source by id, and the shade of each."""
    return {image.id: int(np.asarray(decode(image.path)).mean().round()) for image in images_of(str(spec)).images}


def kept() -> list[str]:
    folder = paths.home() / "sources"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_folder_is_all_images_below_it(tmp_path: Path) -> None:
    for name in ("z.png", "b/a.PNG", "b/c/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encoded(7, "PNG"))
    table(tmp_path / "labels.parquet", [encoded(9)])
    assert shades(tmp_path) == {"b/a.PNG": 7, "b/c/a.png": 7, "z.png": 7}
    assert images_of(str(tmp_path)).identity == str(tmp_path.resolve())


def test_shards_whose_names_are_in_capitals(tmp_path: Path) -> None:
    shard(tmp_path / "a/X.TAR", ["k"], 1)
    table(tmp_path / "b/Y.PARQUET", [encoded(2)])
    (tmp_path / "a/folder.tar").mkdir()
    (tmp_path / "a/._X.TAR").write_bytes(b"what a Macintosh leaves")
    assert shades(tmp_path / "a") == shades(tmp_path / "a/X.TAR") == {"X.TAR/k.jpg": 1}
    assert shades(tmp_path / "b") == shades(tmp_path / "b/Y.PARQUET") == {"Y.PARQUET/00000000.jpg": 2}


def test_a_dataset_is_its_database(small: Path) -> None:
    source = images_of(f"disc:{small}")
    dataset = datasets.select(f"disc:{small}")[0].item
    assert (source.identity, tuple(source.images)) == (dataset.identity, dataset.load().database)


# webdataset


def test_shards_are_named_as_range_pattern_list_and_folder(tmp_path: Path) -> None:
    for number in (8, 9, 10):
        shard(tmp_path / "wds" / f"train-{number:04d}.tar", ["a", "sub/b"], 10 * number)
    (tmp_path / "wds" / "train-0008_stats.json").write_text("{}")
    table(tmp_path / "wds" / "train-0008.parquet", [None])  # img2dataset writes one of captions beside each shard
    whole = {
        f"train-{number:04d}.tar/{key}.jpg": 10 * number + shade
        for number in (8, 9, 10)
        for shade, key in enumerate(["a", "sub/b"])
    }
    assert shades(f"{tmp_path}/wds/train-{{0008..0010}}.tar") == whole
    assert shades(f"{tmp_path}/wds/*.tar") == whole
    assert shades(f"{tmp_path}/w?s/train-0008.tar,{tmp_path}/wds/train-0010.tar") == {
        name: shade for name, shade in whole.items() if "0009" not in name
    }
    assert shades(tmp_path / "wds") == whole
    assert shades(tmp_path / "wds" / "train-0009.tar") == {"train-0009.tar/a.jpg": 90, "train-0009.tar/sub/b.jpg": 91}
    assert images_of(f"{tmp_path}/wds/*.tar").identity == f"{tmp_path.resolve()}/wds/*.tar"


def test_relative_patterns_and_shards_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, split in enumerate(("train", "val")):
        shard(tmp_path / split / "0.tar", ["k"], number)
    monkeypatch.chdir(tmp_path)
    assert shades("*/0.tar") == shades("train/0.tar,val/{0..0}.tar") == {"train/0.tar/k.jpg": 0, "val/0.tar/k.jpg": 1}


def test_shards_in_the_cache_of_a_hub_keep_their_names(tmp_path: Path) -> None:
    """There each file is a link to one that is called after its hash."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/main"
    snapshot.mkdir(parents=True)
    for name, made in (
        ("a.tar", shard(blobs / "5c0ffe", ["k"], 1)),
        ("b.parquet", table(blobs / "bee5", [encoded(2)])),
    ):
        (snapshot / name).symlink_to(made)
    assert shades(snapshot / "a.tar") == {"a.tar/k.jpg": 1}
    assert shades(snapshot / "b.parquet") == {"b.parquet/00000000.jpg": 2}
    both = images_of(f"{snapshot}/a.tar, {snapshot}/../main/b.parquet")
    assert [image.id for image in both.images] == ["a.tar/k.jpg", "b.parquet/00000000.jpg"]
    assert both.identity == f"{snapshot.resolve()}/a.tar,{snapshot.resolve()}/b.parquet"


def test_the_image_of_a_key_is_the_one_without_further_extension(tmp_path: Path) -> None:
    files = [
        (member("d", tarfile.DIRTYPE), b""), ("./d/1.JPG", encoded(1)), ("d/1.mask.png", encoded(50, "PNG")),
        ("d/2.photo.png", encoded(2, "PNG")), ("d/2.cls", b"5"), ("d/.hidden.jpg", b""), ("README", b"text"),
        ("3.jpeg", encoded(3, "WEBP")),
    ]  # fmt: skip
    assert shades(tar(tmp_path / "x.tar", files)) == {"x.tar/3.webp": 3, "x.tar/d/1.jpg": 1, "x.tar/d/2.png": 2}


@pytest.mark.parametrize(
    ("bad", "key", "told"),
    [
        ([("b.jpg", b"no image")], "b", r"the image b\.jpg of .*x\.tar, key 'b' can't be read \(cannot identify"),
        ([("b.jpg", b"")], "b", r"x\.tar, key 'b': the image b\.jpg is empty, replace it"),
        ([("b.jpg", encoded(1, "ICO"))], "b", r"the image b\.jpg of .*x\.tar, key 'b' can't be read"),
        ([("b.jpg", encoded(1)), ("b.png", encoded(2, "PNG"))], "b", r"key 'b' has 2 images \(b\.jpg, b\.png\)"),
        (
            [("b.jpg", encoded(2)), ("c.json", b""), ("b.jpg", encoded(3))],
            "b",
            r"key 'b' has 2 images \(b\.jpg, b\.jpg",
        ),
        ([("../b.jpg", encoded(2))], "../b.jpg", r"'\.\./b\.jpg' is a link, no ordinary file, or leads out"),
        ([("/b.jpg", encoded(1))], "/b.jpg", r"'/b\.jpg' is a link, .* or leads out of the folder"),
        ([(member("b.jpg", tarfile.SYMTYPE, "/etc/passwd"), b"")], "b.jpg", r"'b\.jpg' is a link"),
        ([(member("b.jpg", tarfile.LNKTYPE, "a.jpg"), b"")], "b.jpg", r"'b\.jpg' is a link"),
        ([(member("b.jpg", tarfile.FIFOTYPE), b"")], "b.jpg", r"'b\.jpg' is .* no ordinary file"),
    ],
)
def test_bad_members_are_listed_and_left_out(
    bad: list[tuple[str | tarfile.TarInfo, bytes]], key: str, told: str, tmp_path: Path
) -> None:
    path = tar(tmp_path / "x.tar", [("a.jpg", encoded(1)), *bad, ("z.jpg", encoded(3))])
    source = images_of(str(path))
    assert shades(path) == {"x.tar/a.jpg": 1, "x.tar/z.jpg": 3}
    assert list(source.unreadable) == [f"x.tar/{key}"]
    (sentence,) = source.unreadable.values()
    assert (
        re.search(told, sentence)
        and str(path) in sentence
        and "\n" not in sentence
        and str(paths.home()) not in sentence
    )


def test_where_nothing_can_be_read_the_first_reason_is_given(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("a.jpg", b""), ("b.jpg", b"")])
    with pytest.raises(
        DatasetError, match=r"key 'a': the image a\.jpg is empty, replace it or leave it out; 1 more can't"
    ):
        _ = images_of(str(path)).images
    with pytest.raises(DatasetError, match=r"x\.tar holds no images but 2 \.json: name a folder"):
        _ = images_of(str(tar(tmp_path / "x.tar", [("a.json", b"{}"), ("b.JSON", b"{}")]))).images


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.5, 0.8])
def test_a_shard_cut_short_anywhere_is_listed_and_what_is_whole_is_read(share: float, tmp_path: Path) -> None:
    whole = shard(tmp_path / "whole.tar", map(str, range(20))).read_bytes()
    expected = shades(tmp_path / "whole.tar")
    for size in {int(len(whole) * share), int(len(whole) * share) // 512 * 512}:  # also between two members
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        listing = images_of(str(tmp_path / "cut.tar")).listing
        found = {image.id: int(np.asarray(decode(image.path)).mean().round()) for image in listing.images}
        assert set(found.items()) <= {(name.replace("whole", "cut"), shade) for name, shade in expected.items()}
        assert len(found) >= 20 * share - 1 - 0.1 * 20
        assert list(listing.unreadable) == ["cut.tar"]
        assert "cut.tar can't be read whole (it is cut short): get it again" in listing.unreadable["cut.tar"]


def test_shards_are_unpacked_once_and_anew_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    path = shard(tmp_path / "x.tar", ["a"], 3)
    first = images_of(str(path)).images[0].path
    before = first.stat().st_mtime_ns
    assert images_of(str(path)).images[0].path == first and first.stat().st_mtime_ns == before
    assert len(kept()) == 1
    shard(path, ["a", "b"], 4)
    assert shades(path) == {"x.tar/a.jpg": 4, "x.tar/b.jpg": 5}
    assert len(kept()) == 2


# parquet


@pytest.mark.parametrize("rows", [None, 7])
def test_rows_of_a_hugging_face_table(rows: int | None, tmp_path: Path) -> None:
    table(tmp_path / "hf/data/train-00000-of-00002.parquet", [encoded(i, "PNG") for i in range(150)], rows=rows)
    table(tmp_path / "hf/data/train-00001-of-00002.parquet", [encoded(200)])
    (tmp_path / "hf/README.md").write_text("a card")
    expected = {f"train-00000-of-00002.parquet/{row:08d}.png": row for row in range(150)}
    expected |= {"train-00001-of-00002.parquet/00000000.jpg": 200}
    assert shades(tmp_path / "hf") == shades(f"{tmp_path}/hf/data/*.parquet") == expected
    assert shades(f"{tmp_path}/hf/data/train-{{00001..00001}}-of-00002.parquet") == {
        "train-00001-of-00002.parquet/00000000.jpg": 200
    }


@pytest.mark.parametrize(
    ("column", "kind"), [("image", pa.large_binary()), ("jpg", pa.binary()), ("bytes", pa.binary())]
)
def test_columns_of_bytes(column: str, kind: pa.DataType, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], column: pa.array([encoded(4)], kind)}), tmp_path / "x.parquet")
    assert shades(tmp_path / "x.parquet") == {"x.parquet/00000000.jpg": 4}


def test_another_column_is_named(tmp_path: Path) -> None:
    columns = {"image": [encoded(1)], "thumb": [encoded(2)], "caption": ["grey"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert shades(f"{tmp_path}/x.parquet")["x.parquet/00000000.jpg"] == 1
    assert shades(f"{tmp_path}/x.parquet#thumb")["x.parquet/00000000.jpg"] == 2
    (tmp_path / "preview.jpg").write_bytes(encoded(9))
    assert shades(f"{tmp_path}#thumb") == {"x.parquet/00000000.jpg": 2}
    assert images_of(f"{tmp_path}/x.parquet#thumb").identity == f"{tmp_path.resolve()}/x.parquet#thumb"
    with pytest.raises(
        DatasetError, match=r"no column 'caption' of images: name one of image, thumb as x\.parquet#COL"
    ):
        _ = images_of(f"{tmp_path}/x.parquet#caption").images


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (None, "row 1 of column 'image', counted from 0, holds no image"),
        (b"", "row 1 of column 'image', counted from 0, holds no image"),
        (encoded(1, "ICO"), "row 1 of column 'image', counted from 0 can't be read"),
        (b"text", "row 1 of column 'image', counted from 0 can't be read"),
    ],
)
def test_bad_rows_are_listed_and_left_out(bad: bytes | None, told: str, tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", [encoded(1), bad, encoded(2)])
    assert shades(path) == {"x.parquet/00000000.jpg": 1, "x.parquet/00000002.jpg": 2}
    unreadable = images_of(str(path)).unreadable
    assert list(unreadable) == ["x.parquet/00000001"]
    assert told in unreadable["x.parquet/00000001"] and str(path) in unreadable["x.parquet/00000001"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: table(path, [encoded(1)], "photo"), r"name one of photo as x\.parquet#COLUMN"),
        (lambda path: pq.write_table(pa.table({"image": ["a.jpg"]}), path), "none of its columns holds bytes"),
        (lambda path: path.write_bytes(b"PAR1 text PAR1"), "can't be read"),
        (lambda path: path.write_bytes(b""), "can't be read"),
        (lambda path: table(path, []), "holds no images"),
    ],
)
def test_tables_without_images_are_refused(make: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    make(tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match=told) as raised:
        _ = images_of(f"{tmp_path}/x.parquet").images
    assert f"{tmp_path}/x.parquet" in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("nowhere", "'nowhere' is no folder, no .tar or .parquet file, and there is no dataset 'nowhere'"),
        ("demo", "'demo' is 2 datasets: name one, or a folder"),
        ("no.tar", r"'no\.tar' names no\.tar, but there is no such file"),
        ("no-*.parquet", r"names no-\*\.parquet, but there is no such file"),
        ("x-{0..2}.tar", r"names x-1\.tar, but there is no such file"),
        ("x-{2..0}.tar", "is a range that ends before it begins"),
        ("x-0.tar#jpg", r"names a column, but a \.tar has none"),
        (",".join(f"{'long' * 30}{i}.tar" for i in range(9)), "but there is no such file"),
    ],
)
def test_what_is_no_source_is_refused_at_once(
    spec: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (0, 2):
        shard(tmp_path / f"x-{number}.tar", ["a"])
    with pytest.raises(UsageError, match=told):
        images_of(spec)


# as the background of a run


@pytest.fixture
def photographs(photo: Path) -> list[bytes]:
    """16 windows of a photograph."""
    image, found = Image.open(photo).convert("RGB"), []
    for number in range(16):
        stream = io.BytesIO()
        image.crop((20 * number, 7 * number, 20 * number + 90, 7 * number + 90)).save(stream, "JPEG")
        found.append(stream.getvalue())
    return found


def run(*arguments: object) -> Result:
    shared = ["run", "--backbones", "dhash", "--similarities", "global", "--postprocess", "center"]
    return CliRunner().invoke(app, [*shared, *map(str, arguments)])


def test_shards_and_tables_are_the_background_of_a_run(small: Path, photographs: list[bytes], tmp_path: Path) -> None:
    """The same images, however they are packed, give the same scores."""
    (tmp_path / "plain").mkdir()
    for number, data in enumerate(photographs):
        (tmp_path / "plain" / f"{number:08d}.jpg").write_bytes(data)
    tar(tmp_path / "x-0.tar", [(f"{number:03d}.jpg", data) for number, data in enumerate(photographs)])
    table(tmp_path / "x.parquet", photographs)
    scores = {}
    for name in ("plain", "x-{0..0}.tar", "x.parquet"):
        ran = run("--datasets", f"disc:{small}", "--background", tmp_path / name, "--output", tmp_path / "out" / name)
        assert ran.exit_code == 0, ran.output
        row = next(csv.DictReader((tmp_path / "out" / name / "leaderboard.csv").open()))
        scores[name] = (row["disc:small.map"], row["disc:small.micro_ap"], row["complete"])
    assert len(set(scores.values())) == 1 and scores["plain"][2] == "True"


def test_an_image_of_the_test_is_found_inside_a_shard(small: Path, tmp_path: Path) -> None:
    tar(tmp_path / "x.tar", [("a.png", (small / "references" / "r03.png").read_bytes())])
    ran = run("--datasets", f"disc:{small}", "--background", tmp_path / "x.tar", "--output", tmp_path / "out")
    (record,) = (tmp_path / "out" / "records").glob("*.json")
    told = json.loads(record.read_text())["error"]["message"]
    assert ran.exit_code == 3
    assert "references/r03 of disc:small is also in the background" in told and "(as x.tar/a.png)" in told


def test_a_missing_shard_stops_the_run_at_its_start(small: Path, tmp_path: Path) -> None:
    ran = run("--datasets", f"disc:{small}", "--background", tmp_path / "x.tar", "--output", tmp_path / "out")
    assert isinstance(ran.exception, UsageError) and not (tmp_path / "out").exists()
    assert str(ran.exception).startswith(f"the background '{tmp_path}/x.tar' names {tmp_path}/x.tar, but there is no")
