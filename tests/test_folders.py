"""Folders of one's own images: a class a sub-folder, pairs in a CSV; read to the letter, refused in one sentence."""

import csv
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import DatasetError, UsageError
from bench.evaluate import ignore_self
from bench.interfaces import Dataset, Split
from bench.listing import entries
from bench.plugins import datasets
from bench.records import RunFolder
from datasets import _csv, _pairs


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def chosen(spec: str) -> Dataset:
    return datasets.select(spec)[0].item


def levels_by_name(split: Split) -> list[tuple[str, str, float]]:
    """Query, reference and level of every pair that has one."""
    if (levels := split.levels) is None:
        return []
    columns = levels.queries.tolist(), levels.database.tolist(), levels.level.tolist()
    return sorted((split.queries[q].id, split.database[row].id, level) for q, row, level in zip(*columns, strict=True))


def touched(folder: Path, names: Iterable[str]) -> Path:
    """Files of these names, without content: reading a split opens no image."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def answers(split: Split) -> dict[str, list[str]]:
    return {
        query.id: [split.database[row].id for row in positives]
        for query, positives in zip(split.queries, split.ground_truth.positives, strict=True)
    }


@pytest.fixture
def tiles(photo: Path) -> list[Image.Image]:
    """12 disjoint tiles of a photograph, 100 x 100."""
    image = Image.open(photo).convert("RGB")
    return [image.crop((x, y, x + 100, y + 100)) for y in (0, 100, 200) for x in (0, 100, 200, 300)]


# folder:DIR


def test_images_of_a_class_answer_each_other(tmp_path: Path) -> None:
    names = ["cat/1.jpg", "cat/more/2.PNG", "cat/more/3.webp", "dog/1.jpg", "dog/2.jpg", "owl/1.jpg"]
    folder = touched(tmp_path / "pets", [*names, "cat/notes.txt", "README.md"])
    dataset = chosen(f"folder:{folder}")
    split = dataset.load()
    assert (dataset.name, dataset.kind, dataset.identity) == ("folder:pets", "retrieval", f"folder:{folder}")
    assert [image.id for image in split.queries] == [image.id for image in split.database] == names
    assert answers(split) == {
        "cat/1.jpg": ["cat/more/2.PNG", "cat/more/3.webp"],
        "cat/more/2.PNG": ["cat/1.jpg", "cat/more/3.webp"],
        "cat/more/3.webp": ["cat/1.jpg", "cat/more/2.PNG"],
        "dog/1.jpg": ["dog/2.jpg"],
        "dog/2.jpg": ["dog/1.jpg"],
        "owl/1.jpg": [],
    }
    assert split.classes is not None
    assert split.classes.queries.tolist() == split.classes.database.tolist() == [0, 0, 0, 1, 1, 2]


def test_linked_classes_count_and_hidden_files_do_not(tmp_path: Path) -> None:
    hidden = ["._1.jpg", "a/._1.jpg", "a/.ipynb_checkpoints/1-checkpoint.jpg", "__MACOSX/a/1.jpg", ".git/1.jpg"]
    folder = touched(tmp_path / ".own/set", ["a/1.jpg", "a/2.jpg", "b.jpg/1.JPG", *hidden])
    touched(tmp_path / "elsewhere", ["1.jpg", "deep/2.jpg"])
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to(tmp_path / "elsewhere")
    (folder / "a/up").symlink_to(folder)
    (folder / "a/further_up").symlink_to(tmp_path)
    (tmp_path / "elsewhere/deep/to_a").symlink_to(folder / "a")
    (folder / "self").symlink_to(folder / "self")
    split = chosen(f"folder:{folder}").load()
    elsewhere = ["1.jpg", "deep/2.jpg", "deep/to_a/1.jpg", "deep/to_a/2.jpg"]
    assert [image.id for image in split.queries] == [
        "a/1.jpg", "a/2.jpg",
        *(f"again/{name}" for name in elsewhere), "b.jpg/1.JPG", *(f"linked/{name}" for name in elsewhere),
    ]  # fmt: skip
    assert split.classes is not None and split.classes.queries.max() == 3


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"the folder .*/none can't be read \(No such file or directory\): correct"):
        entries(tmp_path / "none")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "holds no image: it needs one sub-folder a class"),
        (["notes.txt", "a/notes.txt"], "holds no image"),
        (["a/1.jpg", "a/2.jpg", "b.jpg"], r"holds images outside of any class, such as b\.jpg"),
        (["a/1.jpg", "b/1.jpg"], "no class in .* has two images"),
    ],
)
def test_folders_without_classes_are_refused(names: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=told):
        chosen(f"folder:{touched(tmp_path, names)}").load()


@pytest.mark.parametrize("form", ["folder", "pairs", "disc"])
def test_a_folder_that_is_not_there_is_refused_at_once(form: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"there is no dataset folder {tmp_path}/none"):
        datasets.select(f"{form}:{tmp_path}/none")


def test_a_class_folder_is_ranked(tiles: Sequence[Image.Image], tmp_path: Path) -> None:
    for number, tile in enumerate(tiles[:3]):
        for view in range(3):
            place = tmp_path / "mine" / f"c{number}" / f"{view}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            tile.crop((view, view, 100, 100)).save(place)
    ran = bench("run", "--backbones", "dhash", "--datasets", f"folder:{tmp_path / 'mine'}", "--similarities", "global",
                "--output", tmp_path / "out")  # fmt: skip
    assert ran.exit_code == 0, ran.output
    row = next(csv.DictReader((tmp_path / "out/leaderboard.csv").open()))
    assert row["folder:mine.map"] == row["folder:mine.r_precision"] == row["folder:mine.map@r"] == "1.0"
    assert row["complete"] == "True"


# disc:DIR


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("query_id\nq1\n", r"ground_truth\.csv lacks the column reference_id"),
        ("", r"ground_truth\.csv is empty"),
        ("query_id,reference_id\nq1,r1\nq9,r1\n", "line 3: there is no query image 'q9'"),
        ("query_id,reference_id\nq1,r9\n", "line 2: there is no reference image 'r9'"),
        ("query_id,reference_id\nq1,r1\nq1,r1\n", "line 3: the pair q1, r1 stands there twice"),
        ("query_id,reference_id\nq1,r1\nq1,\n", "line 3: q1 stands in line 2 too, .* has no match: remove one"),
        ("query_id,reference_id\nq1,\nq1,r1\n", "line 3: q1 stands in line 2 too, .* has no match: remove one"),
        ("query_id,reference_id\nq1,\nq1,\n", "line 3: q1 stands in line 2 too, .* has no match: remove one"),
        ("query_id,reference_id,query_id\nq1,r1,q1\n", "has two columns called query_id: rename or remove one"),
    ],
)
def test_a_wrong_ground_truth_in_disc_form_is_refused(text: str, told: str, tmp_path: Path) -> None:
    touched(tmp_path, ["queries/q1.jpg", "references/r1.png"])
    (tmp_path / "ground_truth.csv").write_text(text)
    with pytest.raises(DatasetError, match=told):
        chosen(f"disc:{tmp_path}").load()


def test_what_is_no_image_of_a_role_is_left_out(tmp_path: Path) -> None:
    touched(tmp_path, ["queries/q1.jpg", "queries/._q1.jpg", "queries/foo.jpg/x.jpg", "references/r1.png"])
    (tmp_path / "ground_truth.csv").write_text("query_id,reference_id\nq1,r1\n")
    assert answers(chosen(f"disc:{tmp_path}").load()) == {"queries/q1": ["references/r1"]}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["queries/q1.jpg"], "there is no folder .*/references"),
        (["queries/q1.jpg", "references/notes.txt"], ".*/references holds no image"),
        (["queries/q1.jpg", "queries/q1.png", "references/r1.png"], r"q1\.jpg and .*q1\.png share the name 'q1'"),
        (["queries/q1.jpg", "references/r1.png"], r"there is no ground truth .*ground_truth\.csv"),
    ],
)
def test_what_is_not_in_disc_form_is_refused(names: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=told):
        chosen(f"disc:{touched(tmp_path, names)}").load()


# pairs:DIR

IMAGES = ["q/1.jpg", "q/2.jpg", "r/1.jpg", "r/2.jpg", "r/3.jpg", "both.png"]


def written(folder: Path, text: str, names: Sequence[str] = IMAGES) -> Path:
    touched(folder, names)
    (folder / _pairs.PAIRS).write_text(text)
    return folder


def test_pairs_to_the_letter(tmp_path: Path) -> None:
    """A query alone is no distractor, an image of both roles is in both, all others are in the database."""
    text = (
        'note,reference,query,tags,level\n"x, y",r/2.jpg,q/2.jpg,crop; blur,3\n,./r/1.jpg,q/2.jpg,crop; blur,0\n'
        ",both.png,q/2.jpg,crop; blur,\n,,q/1.jpg,,\n,r/1.jpg,both.png,blur,0.5\n"
    )
    dataset = chosen(f"pairs:{written(tmp_path / 'set', text)}")
    split = dataset.load()
    assert (dataset.name, dataset.kind, dataset.identity) == ("pairs:set", "copy", f"pairs:{tmp_path / 'set'}")
    assert [image.id for image in split.queries] == ["both.png", "q/1.jpg", "q/2.jpg"]
    assert [image.id for image in split.database] == ["both.png", "r/1.jpg", "r/2.jpg", "r/3.jpg"]
    assert split.database[0] == split.queries[0]
    assert answers(split) == {"both.png": ["r/1.jpg"], "q/1.jpg": [], "q/2.jpg": ["both.png", "r/2.jpg"]}
    assert [junk.tolist() for junk in ignore_self(split, split.ground_truth).junk] == [[0], [], []]
    assert levels_by_name(split) == [
        ("both.png", "r/1.jpg", 0.5), ("q/2.jpg", "r/1.jpg", 0.0), ("q/2.jpg", "r/2.jpg", 3.0)
    ]  # fmt: skip
    assert split.tags == (("blur",), (), ("crop", "blur"))


def test_columns_without_a_name_are_let_be(tmp_path: Path) -> None:
    plain, padded = "query,reference\nq/1.jpg,r/1.jpg\n", "query,reference,,\nq/1.jpg,r/1.jpg,,\n"
    splits = [chosen(f"pairs:{written(tmp_path / name, text)}").load() for name, text in (("a", plain), ("b", padded))]
    assert answers(splits[0]) == answers(splits[1]) == {"q/1.jpg": ["r/1.jpg"]}


def test_only_the_header_tells_whether_there_are_levels(tmp_path: Path) -> None:
    # as spreadsheets save it, with a byte order mark
    with_level = written(tmp_path / "with", '\ufefflevel,query,"reference"\n3,q/1.jpg,r/1.jpg\n')
    plain = chosen(f"pairs:{written(tmp_path / 'plain', 'query,reference')}").metrics
    leveled = chosen(f"pairs:{with_level}").metrics
    assert plain[0] == "map" and "micro_ap" in plain
    assert leveled == (*plain, "pearson", "relative_deviation")
    assert levels_by_name(chosen(f"pairs:{with_level}").load()) == [("q/1.jpg", "r/1.jpg", 3.0)]
    assert chosen(f"pairs:{touched(tmp_path / 'none', ['1.jpg'])}").metrics == plain


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"pairs\.csv is empty"),
        ("query,reference\n", r"pairs\.csv names no query"),
        ("query,match\nq/1.jpg,r/1.jpg\n", r"pairs\.csv lacks the column reference"),
        ("query,reference\nq/1.jpg,\n\nq/9.jpg,r/1.jpg\n", r"line 4: there is no image 'q/9\.jpg' below"),
        ("query,reference\nq/1.jpg,r/1\n", r"line 2: there is no image 'r/1' below"),
        ("query,reference\n,r/1.jpg\n", "line 2: there is no image '' below"),
        ("query,reference\nq/1.jpg,r/.3.jpg\n", r"line 2: there is no image 'r/\.3\.jpg' below"),
        ("query,reference\nq/1.jpg,../r/1.jpg\n", r"line 2: '\.\./r/1\.jpg' is no path below the folder"),
        ("query,reference\n/etc/1.jpg,r/1.jpg\n", r"line 2: '/etc/1\.jpg' is no path below the folder"),
        (
            "query,reference\nq/1.jpg,r/1.jpg\nq/1.jpg,./r/1.jpg\n",
            r"line 3: the pair q/1.jpg, r/1.jpg stands in line 2",
        ),
        ("query,reference\nq/1.jpg,r/1.jpg\nq/1.jpg,\n", r"line 3: q/1\.jpg stands in line 2 too, .* has no match"),
        ("query,reference\nq/1.jpg,\nq/1.jpg,r/1.jpg\n", r"line 3: q/1\.jpg stands in line 2 too, .* has no match"),
        ("query,reference\nq/1.jpg,\nq/1.jpg,\n", r"line 3: q/1\.jpg stands in line 2 too, .* has no match"),
        ("query,reference\nq/1.jpg,q/1.jpg\n", r"line 2: q/1\.jpg is paired with itself"),
        ("query,reference,level\nq/1.jpg,r/1.jpg,much\n", "line 2: the level 'much' is no number from 0 to 5"),
        ("query,reference,level\nq/1.jpg,r/1.jpg,-1\n", "line 2: the level '-1' is no number from 0 to 5"),
        ("query,reference,level\nq/1.jpg,r/1.jpg,nan\n", "line 2: the level 'nan' is no number from 0 to 5"),
        ("query,reference,level\nq/1.jpg,r/1.jpg,5.01\n", "line 2: the level '5.01' is no number from 0 to 5"),
        ("query,reference,level\nq/1.jpg,,2\n", "line 2: there is a level but no reference"),
        ("query,reference,level\nq/1.jpg,r/1.jpg,\n", "has the column level, but gives no pair one"),
        (
            "query,reference,tags\nq/1.jpg,r/1.jpg,a\nq/1.jpg,r/2.jpg,b\n",
            r"line 3: the tags of q/1\.jpg are not those of line 2",
        ),
        ("query,reference,query\nq/1.jpg,r/1.jpg,q/2.jpg\n", "has two columns called query: rename or remove one"),
        ("query,reference\nq/1.jpg,r/1.jpg,r/2.jpg\n", "line 2: there are more cells than columns"),
        ("query,reference\n" + "".join(f"{name},\n" for name in IMAGES), "every image as a query without a match"),
    ],
)
def test_wrong_pairs_are_refused_in_one_sentence(text: str, told: str, tmp_path: Path) -> None:
    dataset = chosen(f"pairs:{written(tmp_path, text, [*IMAGES, 'r/.3.jpg'])}")
    with pytest.raises(DatasetError, match=told) as raised:
        dataset.load()
    assert str(tmp_path / _pairs.PAIRS) in str(raised.value) and "\n" not in str(raised.value)


def test_a_table_in_another_encoding_or_none_at_all_is_refused(tmp_path: Path) -> None:
    dataset = chosen(f"pairs:{touched(tmp_path, IMAGES)}")
    with pytest.raises(DatasetError, match=r"there is no ground truth .*pairs\.csv: write it with the columns query"):
        dataset.load()
    (tmp_path / _pairs.PAIRS).write_bytes("query,reference\nq/é.jpg,\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="is not a CSV file in UTF-8"):
        dataset.load()


names = st.sampled_from(["a b.jpg", "a,b.png", 'say "x".jpg', "é/1.jpg", "é/2.jpg", "f/g/h.webp", "f.jpg", "z.PNG"])


@st.composite
def drawn_pairs(draw: st.DrawFn) -> dict[str, dict[str, float]]:
    """Levels by reference by query; a query without references has no match."""
    queries = draw(st.sets(names, min_size=1, max_size=5))
    levels = st.sampled_from([0.0, 0.25, 1.0, 5.0])
    return {query: draw(st.dictionaries(names.filter(query.__ne__), levels, max_size=4)) for query in sorted(queries)}


@settings(max_examples=100, deadline=None)
@given(drawn_pairs(), st.randoms(use_true_random=False))
def test_pairs_that_are_written_read_back(pairs: dict[str, dict[str, float]], order: Any) -> None:
    columns = ["query", "reference", "tags", *(["level"] if any(pairs.values()) else [])]
    rows = [
        {"query": query, "reference": reference, "level": str(level) if reference else "", "tags": f"t{len(query)}"}
        for query, found in pairs.items()
        for reference, level in (found.items() or [("", 0.0)])
    ]
    order.shuffle(rows)
    used = {name for query, found in pairs.items() for name in (query, *found)}
    expected_database = {name for found in pairs.values() for name in found} | {"a distractor.jpg"}
    with tempfile.TemporaryDirectory() as folder:
        touched(Path(folder), [*used, "a distractor.jpg"])
        _csv.write(Path(folder) / _pairs.PAIRS, [{c: row[c] for c in columns} for row in rows], tuple(columns))
        split = _pairs.read(Path(folder))
    assert {image.id for image in split.database} == expected_database
    assert {q: set(found) for q, found in answers(split).items()} == {
        query: {name for name, level in found.items() if level} for query, found in pairs.items()
    }
    expected_levels = [(query, name, level) for query, found in pairs.items() for name, level in found.items()]
    assert levels_by_name(split) == sorted(expected_levels)
    assert split.tags == tuple((f"t{len(query.id)}",) for query in split.queries)


@pytest.fixture
def copies(tiles: Sequence[Image.Image], tmp_path: Path) -> Path:
    """12 tiles, and of the first 6 a copy each, cut the more the lower its level; one query without a match."""
    folder = tmp_path / "copies"
    for name in ("originals", "queries"):
        (folder / name).mkdir(parents=True)
    rows = []
    for number, tile in enumerate(tiles):
        tile.save(folder / "originals" / f"{number}.png")
        if number < 6:
            tile.crop((4 * number, 0, 100, 100)).save(folder / "queries" / f"{number}.jpg")
            rows.append({"query": f"queries/{number}.jpg", "reference": f"originals/{number}.png",
                         "level": str(5 - number), "tags": "even" if number % 2 == 0 else "odd;all"})  # fmt: skip
    tiles[0].rotate(90).save(folder / "queries" / "none.jpg")
    rows.append({"query": "queries/none.jpg", "reference": "", "level": "", "tags": "all"})
    _csv.write(folder / _pairs.PAIRS, rows, ("query", "reference", "level", "tags"))
    return folder


def test_pairs_with_levels_and_tags_are_ranked(copies: Path, tmp_path: Path) -> None:
    ran = bench("run", "--backbones", "dhash", "--datasets", f"pairs:{copies}", "--similarities", "global",
                "--output", tmp_path / "out")  # fmt: skip
    assert ran.exit_code == 0, ran.output
    row = next(csv.DictReader((tmp_path / "out/leaderboard.csv").open()))
    assert row["pairs:copies.map"] == "1.0" and float(row["pairs:copies.micro_ap"]) > 0.8
    assert float(row["pairs:copies.pearson"]) > 0.5
    (record,) = RunFolder.existing(tmp_path / "out").records()
    by_tag = record.body["by_tag"]
    assert set(by_tag) == {"even", "odd", "all"}
    assert by_tag["even"]["map"]["n_queries"] == 3 and by_tag["all"]["micro_ap"]["n_queries"] == 4
