"""`calibrate` against brute force over all pairs, and what audits and `dedup` make of its table."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from bench.audit.apart import BINS, Apart
from bench.audit.calibration import Calibrated, Calibration
from bench.audit.thresholds import Threshold
from bench.cli import app
from bench.errors import UsageError
from bench.plugins import backbones, datasets
from bench.similarity import Similarity, pairwise
from tests.test_page import Read

Vectors = NDArray[np.float32]
Row = Mapping[str, str]

SIMILARITIES = ("global", "chunked@4[norm=chunk]")
THRESHOLDS = ("0.5", "fpr:0.02", "precision:0.6")


@pytest.fixture(scope="module")
def tiles(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 tiles of a photograph, one of them twice."""
    folder = tmp_path_factory.mktemp("calibrate") / "tiles"
    folder.mkdir()
    image = Image.open(photo).convert("RGB")
    boxes = [(x, y, x + 75, y + 75) for y in (0, 56, 112, 168, 224) for x in (0, 75, 150, 225, 300, 375)]
    for number, box in enumerate(boxes):
        image.crop(box).save(folder / f"t{number:02d}.png")
    (folder / "twin.png").write_bytes((folder / "t03.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def small(tiles: Path, photo: Path) -> Path:
    """20 tiles, 10 copies of them that are cropped more and more, and 4 queries that only overlap with tiles."""
    folder = tiles.parent / "copies"
    (folder / "references").mkdir(parents=True)
    (folder / "queries").mkdir()
    lines = ["query_id,reference_id"]
    for number in range(20):
        (folder / f"references/R{number:02d}.png").write_bytes((tiles / f"t{number:02d}.png").read_bytes())
    for number in range(10):
        cut = 2 + 3 * number
        copy = Image.open(tiles / f"t{number:02d}.png").crop((cut, cut, 75, 75))
        copy.save(folder / f"queries/Q{number:02d}.jpg", quality=50)
        lines.append(f"Q{number:02d},R{number:02d}")
    for number in range(10, 14):
        box = (30 * number - 280, 20, 30 * number - 205, 95)
        Image.open(photo).convert("RGB").crop(box).save(folder / f"queries/Q{number}.jpg", quality=50)
        lines.append(f"Q{number},")
    (folder / "ground_truth.csv").write_text("\n".join(lines) + "\n")
    return folder


def calibrate(tiles: Path, output: Path, *options: object) -> Result:
    fixed = ["calibrate", "--background", str(tiles), "--backbones", "dhash", "--output", str(output)]
    return CliRunner().invoke(app, [*fixed, *map(str, options)])


@pytest.fixture(scope="module")
def table(tiles: Path, small: Path) -> Path:
    """The table by the tiles, and a set of copies."""
    output = tiles.parent / "thresholds.csv"
    asked = ["--similarities", ",".join(SIMILARITIES), "--threshold", ",".join(THRESHOLDS)]
    ran = calibrate(tiles, output, "--datasets", f"disc:{small}", *asked)
    assert ran.exit_code == 0, ran.output
    return output


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


def described(paths: Sequence[Path]) -> Vectors:
    """By dhash, image by image."""
    import torch

    from bench.images import load

    (chosen,) = backbones.select("dhash")
    model = chosen.item.load("cpu", None)
    return torch.cat([model.describe(load(path, chosen.item.preprocess)[None]).global_ for path in paths]).numpy()


@pytest.fixture(scope="module")
def pairs(tiles: Path, small: Path) -> Callable[[str], tuple[Vectors, Vectors, NDArray[np.bool_]]]:
    """By similarity: scores [P] of pairs of different tiles; of queries and references [Q, M], and which are copies."""
    files = sorted(tiles.glob("*.png"))
    of_tiles = described(files)
    content = [path.read_bytes() for path in files]
    different = np.array([[a != b for b in content] for a in content])
    split = datasets.select(f"disc:{small}")[0].item.load()
    sides = [described([image.path for image in images]) for images in (split.queries, split.database)]
    is_copy = np.zeros((len(split.queries), len(split.database)), bool)
    for query, positives in enumerate(split.ground_truth.positives):
        is_copy[query, positives] = True

    def scored(spec: str) -> tuple[Vectors, Vectors, NDArray[np.bool_]]:
        similarity = Similarity.parse(spec)
        return pairwise(of_tiles, of_tiles, similarity)[different], pairwise(*sides, similarity), is_copy

    return scored


@pytest.mark.parametrize("spec", SIMILARITIES)
def test_rates_are_those_of_all_pairs(
    spec: str, table: Path, pairs: Callable[[str], tuple[Vectors, Vectors, NDArray[np.bool_]]]
) -> None:
    apart, scores, is_copy = pairs(spec)
    told = {row["threshold"]: row for row in rows(table) if row["similarity"] == spec}
    assert tuple(told) == THRESHOLDS
    for row in told.values():
        score = float(row["score"])
        over = scores > score
        # pairs less than a bin below the threshold count as above it
        assert (apart > score).mean() <= float(row["fpr"]) <= (apart > score - 2 / BINS - 1e-6).mean()
        assert float(row["precision"]) == pytest.approx(is_copy[over].mean())
        assert float(row["recall"]) == pytest.approx(is_copy[over].sum() / is_copy.sum())
        assert (int(row["n_background_pairs"]), int(row["n_copies"])) == (apart.size // 2, is_copy.sum())
    # pairs of such short descriptors are at 0.5, and not above it
    assert float(told["0.5"]["fpr"]) == (apart > 0.5).mean()
    assert spec == "global" or (apart > 0.5).mean() < (apart >= 0.5).mean()
    assert float(told["fpr:0.02"]["fpr"]) <= 0.02 < (apart > float(told["fpr:0.02"]["score"]) - 4 / BINS).mean()
    # no lower threshold finds more copies at that precision
    score = float(told["precision:0.6"]["score"])
    lower = np.unique(scores[is_copy & (scores < score)])
    assert float(told["precision:0.6"]["precision"]) >= 0.6 and len(lower)
    assert all(is_copy[scores >= t].mean() < 0.6 for t in lower)
    assert scores[is_copy & (scores > score)].min() == np.nextafter(np.float32(score), np.float32(1))


def test_the_table_is_read_back_as_it_was(table: Path) -> None:
    read = Calibration.read(table)
    again = Calibration(table.parent / "again.csv", read.rows)
    again.write()
    assert again.path.read_bytes() == table.read_bytes()
    assert len(read.rows) == len(SIMILARITIES) * len(THRESHOLDS)
    about = json.loads(table.with_suffix(".json").read_text())
    assert about["background"].endswith("tiles") and about["seed"] == 0 and about["packages"]["numpy"]


def test_a_table_that_a_spreadsheet_saved_is_the_same(table: Path) -> None:
    saved = table.parent / "saved.csv"
    lines = [line.split(",") for line in table.read_text().splitlines()]
    turned = "\r\n".join(",".join(reversed(line)) for line in lines).replace("fpr:0.02", "fpr:2e-2")
    saved.write_text(turned + "\r\n", encoding="utf-8-sig", newline="")
    assert Calibration.read(saved).rows == Calibration.read(table).rows


def audit(tiles: Path, output: Path, *options: object) -> Result:
    sides = ["--generated", str(tiles), "--training", str(tiles.parent / "tiles"), "--backbones", "dhash"]
    return CliRunner().invoke(app, ["audit", *sides, "--top-k", "3", "--output", str(output), *map(str, options)])


def test_an_audit_uses_and_shows_it(table: Path, tiles: Path, tmp_path: Path) -> None:
    options = ["--similarities", "global", "--threshold", "0.5,fpr:0.02,precision:0.6,0.9", "--calibration", table]
    ran = audit(tiles, tmp_path / "out", *options)
    assert ran.exit_code == 0, ran.output
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    above = summary["verdicts"][0]["above"]
    wanted = [row for row in rows(table) if row["similarity"] == "global"]
    assert summary["calibration"] == str(table)
    assert [of["score"] for of in above] == [*(float(row["score"]) for row in wanted), 0.9]
    for of, row in zip(above, wanted, strict=False):
        known = of["calibrated"]
        assert {name: str(value) for name, value in known.items()} == row
    assert above[3]["calibrated"] is None
    page = Read((tmp_path / "out/report.html").read_text())
    shown = page.tables[1][1:]
    assert [[of.get("data-value") for of, _ in cells][2:] for cells in shown] == [
        [row["score"], row["fpr"], row["precision"], row["recall"]] for row in wanted
    ]


def test_dedup_uses_it(table: Path, tiles: Path, tmp_path: Path) -> None:
    fixed = ["dedup", str(tiles), "--backbone", "dhash", "--output", str(tmp_path), "--threshold", "precision:0.6"]
    assert CliRunner().invoke(app, [*fixed, "--calibration", str(table)]).exit_code == 0
    (row,) = (row for row in rows(table) if (row["similarity"], row["threshold"]) == ("global", "precision:0.6"))
    assert json.loads((tmp_path / "summary.json").read_text())["score"] == float(row["score"])
    assert "can't be told from a training set" in str(CliRunner().invoke(app, fixed).exception)


def test_what_the_table_does_not_say_is_refused(table: Path, tiles: Path, tmp_path: Path) -> None:
    def told(changed: str, *options: object) -> str:
        path = tmp_path / "table.csv"
        path.write_text(changed)
        ran = audit(tiles, tmp_path / "out", "--similarities", "global", "--calibration", path, *options)
        assert ran.exit_code != 0 and not (tmp_path / "out").exists()
        return f"{ran.output} {ran.exception}"

    text = table.read_text()
    score = next(row["score"] for row in rows(table) if row["threshold"] == "precision:0.6")
    made_by = rows(table)[0]["made_by"]
    assert "does not hold fpr:0.01 of dhash, global: `calibrate` it too" in told(text, "--threshold", "fpr:0.01")
    assert "with other weights or another preprocessing" in told(text.replace(made_by, "other"))
    fpr = next(row["fpr"] for row in rows(table) if row["threshold"] == "precision:0.6")
    never = text.replace(f"precision:0.6,{score},{fpr}", "precision:0.6,,")
    assert "never reached precision:0.6" in told(never, "--threshold", "precision:0.6")
    assert "is not a table of thresholds (its columns are not" in told("a,b\n1,2\n")
    for wrong in ("x", "nan", "inf", "-inf"):
        changed = text.replace(f"precision:0.6,{score}", f"precision:0.6,{wrong}")
        assert f"the score of line 4 is '{wrong}'" in told(changed)
    first, second, *_ = text.splitlines()
    assert "line 2 has not 10 cells" in told(f"{first}\n{second},more\n")
    assert "line 2 has not 10 cells" in told(f"{first}\n{second.rpartition(',')[0]}\n")
    assert "has two rows of dhash, global, 0.5: remove one" in told(f"{first}\n{second}\n{second}\n")
    assert "line 2 lacks a number" in told(f"{first}\ndhash,global,0.5,0.5,,,,,,x\n")
    assert "there is no threshold 'many'" in told(text.replace("fpr:0.02", "many"))
    missing = audit(tiles, tmp_path / "out", "--calibration", tmp_path / "nowhere.csv")
    assert missing.exception.exit_code == 2 and "No such file" in str(missing.exception)
    ran = audit(tiles, tmp_path / "out", "--threshold", "precision:0.6", "--similarities", "global")
    assert ran.exit_code != 0 and "`calibrate` it, and give --calibration" in str(ran.exception)


def test_descriptors_of_a_background(table: Path, tiles: Path, tmp_path: Path) -> None:
    fixed = ["embed", "--backbone", "dhash", "--images", str(tiles), "--output", str(tmp_path / "descriptors")]
    assert CliRunner().invoke(app, fixed).exit_code == 0
    asked = ["--similarities", "global", "--threshold", "0.5,fpr:0.02"]
    assert calibrate(tmp_path / "descriptors", tmp_path / "t.csv", *asked).exit_code == 0
    names = ("backbone", "similarity", "threshold", "score", "fpr", "n_background_pairs", "made_by")
    of_images = [row for row in rows(table) if row["similarity"] == "global"][:2]
    found = rows(tmp_path / "t.csv")
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in of_images]
    assert all(row["precision"] == row["recall"] == row["n_copies"] == "" for row in found)


def test_wrong_calls_are_one_sentence(tiles: Path, small: Path, tmp_path: Path) -> None:
    output = tmp_path / "t.csv"
    assert "precision:0.9 needs sets of known copies" in str(
        calibrate(tiles, output, "--threshold", "precision:0.9").exception
    )
    assert "is no .csv file" in str(calibrate(tiles, tmp_path / "folder").exception)
    (tmp_path / "file").write_text("")
    assert "file is a file; choose another --output" in str(calibrate(tiles, tmp_path / "file/t.csv").exception)
    (tmp_path / "one").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "one" / name).write_bytes((tiles / "t00.png").read_bytes())
    ran = calibrate(tmp_path / "one", output, "--threshold", "0.5")
    assert ran.exit_code == 3 and "there are no two different images" in ran.output
    assert "is no set of copies" in str(calibrate(tiles, output, "--datasets", f"folder:{tiles.parent}").exception)
    ran = calibrate(tiles, output, "--threshold", "fpr:1e-9", "--similarities", "global")
    assert ran.exit_code == 3 and "can't be told from 464 pairs of different images" in ran.output
    assert not output.exists()


def test_one_that_fails_is_told_and_the_others_go_on(tiles: Path, tmp_path: Path) -> None:
    ran = calibrate(tiles, tmp_path / "t.csv", "--threshold", "fpr:0.02", "--similarities", "global,chunked@7")
    assert ran.exit_code == 3 and "chunked@7 can't cut 64 dimensions" in ran.output
    assert {row["similarity"] for row in rows(tmp_path / "t.csv")} == {"global"}


def test_a_precision_that_is_never_reached(tiles: Path, photo: Path, tmp_path: Path) -> None:
    """Where the most similar pair is no copy."""
    (tmp_path / "references").mkdir()
    (tmp_path / "queries").mkdir()
    for number in range(4):
        (tmp_path / f"references/R{number}.png").write_bytes((tiles / f"t{number:02d}.png").read_bytes())
    (tmp_path / "queries/Q0.png").write_bytes((tiles / "t00.png").read_bytes())
    (tmp_path / "ground_truth.csv").write_text("query_id,reference_id\nQ0,R1\n")
    options = ["--datasets", f"disc:{tmp_path}", "--threshold", "precision:0.9", "--similarities", "global"]
    ran = calibrate(tiles, tmp_path / "t.csv", *options)
    assert ran.exit_code == 0 and "never reached" in ran.output, ran.output
    row = rows(tmp_path / "t.csv")[1]
    assert row["score"] == row["fpr"] == row["precision"] == row["recall"] == "" and row["n_copies"] == "1"


def test_rates_beyond_the_edges() -> None:
    apart = Apart(np.linspace(-1, 1, 5), np.array([10, 8, 3, 1]), 10)
    assert [apart.rate(score) for score in (-2, -1, -0.5, 0.2, 0.5, 0.9, 1, 3)] == [1, 1, 0.8, 0.3, 0.1, 0.1, 0, 0]
    assert (apart.score(0.1), apart.score(0.3), apart.score(0.85)) == (0.5, 0, -0.5)
    with pytest.raises(UsageError, match=r"fpr:0\.01 can't be told from 10 pairs"):
        apart.score(0.01)


def test_a_table_is_found_by_all_that_decides_it() -> None:
    row = Calibrated("a", "global", "fpr:0.1", 0.5, 0.1, 100, None, None, None, "x")
    table = Calibration(Path("t.csv"), (row,))
    assert table.find("a", "x", Similarity(), Threshold("fpr", 0.1)) is row
    assert table.find("b", "x", Similarity(), Threshold("fpr", 0.1)) is None
    assert table.find("a", "x", Similarity(4), Threshold("fpr", 0.1)) is None
    assert table.find("a", "x", Similarity(), Threshold("fpr", 0.2)) is None
