"""A sample keeps everything that answers its queries, and is the same every time."""

import csv
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.cli import app
from bench.interfaces import Classes, GroundTruth, ImageFile, Levels, Split
from bench.sample import limited


@st.composite
def splits(draw: st.DrawFn) -> Split:
    """Random splits of every form."""
    n, m = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    rows = st.sets(st.integers(0, m - 1), max_size=4)

    def truth() -> GroundTruth:
        positives = [draw(rows) for _ in range(n)]
        junk = [draw(rows) - found for found in positives]
        return GroundTruth(*(tuple(np.array(sorted(x), np.int64) for x in part) for part in (positives, junk)))

    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, m - 1)), unique=True, max_size=5))
    columns = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    return Split(
        tuple(ImageFile(f"q{i}", Path(f"q{i}.jpg")) for i in range(n)),
        tuple(ImageFile(f"x{i}", Path(f"x{i}.jpg")) for i in range(m)),
        truth(),
        {"H": truth()},
        Classes(np.arange(n) % 3, np.arange(m) % 3),
        Levels(*columns, np.arange(len(pairs), dtype=np.float64)),
        tuple((f"tag{i}",) for i in range(n)),
    )


def named(split: Split) -> dict[str, object]:
    """All that a split says of each of its queries, by the names of images."""
    database = [image.id for image in split.database]
    classes, levels = split.classes, split.levels
    assert classes is not None and levels is not None
    return {
        query.id: [
            [[sorted(database[row] for row in part[i]) for part in (truth.positives, truth.junk)]
             for truth in (split.ground_truth, split.setups["H"])],
            int(classes.queries[i]),
            split.tags[i],
            [(database[x], v) for q, x, v in zip(levels.queries, levels.database, levels.level, strict=True) if q == i],
        ]
        for i, query in enumerate(split.queries)
    }  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(splits(), st.integers(1, 10), st.integers(0, 5))
def test_what_is_said_of_a_query_stays(split: Split, n: int, seed: int) -> None:
    sample = limited(split, n, seed)
    whole = named(split)
    assert named(sample) == {query.id: whole[query.id] for query in sample.queries}
    assert len(sample.queries) == min(n, len(split.queries))
    assert len(sample.database) >= min(n, len(split.database))
    assert split.classes is not None and sample.classes is not None
    of = {image.id: c for image, c in zip(split.database, split.classes.database, strict=True)}
    assert [of[image.id] for image in sample.database] == sample.classes.database.tolist()
    assert [i.id for i in sample.database] == [i.id for i in split.database if i in set(sample.database)]
    assert named(limited(split, n, seed)) == named(sample)
    assert limited(split, 1000, seed).database == split.database


def test_the_database_is_filled_up_to_the_limit_and_no_further() -> None:
    empty = tuple(np.empty(0, np.int64) for _ in range(50))
    images = [tuple(ImageFile(f"{role}{i}", Path(f"{role}{i}")) for i in range(50)) for role in "qx"]
    split = Split(images[0], images[1], GroundTruth(tuple(np.array([i]) for i in range(50)), empty))
    sample = limited(split, 10, 0)
    assert len(sample.queries) == len(sample.database) == 10
    assert {q.id[1:] for q in sample.queries} == {x.id[1:] for x in sample.database}
    assert {q.id for q in limited(split, 10, 1).queries} != {q.id for q in sample.queries}


def test_a_run_on_a_sample_says_so(small: Path, tmp_path: Path) -> None:
    chosen = ["run", "--backbones", "dhash,pdq", "--datasets", f"disc:{small}", "--similarities", "global"]
    ran = CliRunner().invoke(app, [*chosen, "--limit", "4", "--output", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    rows = list(csv.DictReader((tmp_path / "out/leaderboard.csv").open()))
    assert [(row["limit"], row["rank"] != "") for row in rows] == [("4", True)] * 2
    assert {row["n_queries"] for row in csv.DictReader((tmp_path / "out/scores.csv").open())} <= {"2", "3", "4"}
    other = CliRunner().invoke(app, [*chosen, "--output", str(tmp_path / "out")])
    assert "limit was 4, now None" in str(other.exception)


def test_a_limit_below_one_is_a_wrong_call(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["run", "--limit", "0", "--output", str(tmp_path / "out")])
    assert ran.exit_code == 2 and "--limit" in ran.output


def test_classes_make_the_ground_truth() -> None:
    truth = Classes(np.array([2, 0, 9]), np.array([0, 2, 0, 2, 1])).ground_truth()
    assert [p.tolist() for p in truth.positives] == [[1, 3], [0, 2], []]
    assert [j.tolist() for j in truth.junk] == [[], [], []]
    assert {part.dtype for part in (*truth.positives, *truth.junk)} == {np.dtype(np.int64)}
