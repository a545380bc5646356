"""What the documents say: the examples run as they stand, the README's table is the committed one."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bench.records import RunFolder
from bench.scored import read
from bench.verify_run import problems
from tests.conftest import ROOT, Bench

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)


def test_a_backbone_in_ten_lines(bench: Bench, small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLES[0])
    chosen = ["--backbones", "resnet18", "--datasets", f"disc:{small}", "--weights", "random"]
    ran = bench("run", "--plugin", tmp_path / "mine.py", *chosen, "--output", tmp_path / "out")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    row = next(csv.DictReader((tmp_path / "out/leaderboard.random.csv").open()))
    assert (row["backbone"], row["embed_dim"], row["status"]) == ("resnet18", "512", "ok")


def test_a_dataset_in_ten_lines(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "mine.py").write_text(EXAMPLES[1])
    image = Image.open(photo).convert("RGB")
    for scene, left in (("7", 0), ("12", 200)):
        for view in range(3):
            image.crop((left + view, 0, left + 200, 200)).save(tmp_path / "photos" / f"{scene}_{view}.jpg")
    command = [sys.executable, "-m", "bench", "run", "--plugin", "mine.py", "--datasets", "scenes"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [*command, "--backbones", "dhash", "--similarities", "global", "--output", "out"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    row = next(csv.DictReader((tmp_path / "out/leaderboard.csv").open()))
    assert (row["scenes.map"], row["scenes.hit@1"], row["complete"]) == ("1.0", "1.0", "True")
    (record,) = RunFolder.existing(tmp_path / "out").records()
    assert [record.body["dataset"][name] for name in ("n_queries", "n_database", "n_pairs")] == [2, 4, 4]


def test_the_table_of_thresholds_is_that_of_the_record() -> None:
    def number(text: str, form: str) -> str:
        return format(float(text), form) if text else ""

    lines = [
        f"| {row['backbone']} | {row['similarity']} | {row['threshold']} | "
        f"{number(row['score'], '.4f') or 'never reached'} | {number(row['fpr'], '.2g')} | "
        f"{number(row['precision'], '.3f')} | {number(row['recall'], '.3f')} |"
        for row in csv.DictReader((ROOT / "results/reference/calibration/thresholds.csv").open())
        if row["backbone"] in ("efficientnet_lite0", "pdq")
    ]
    assert len(lines) == 12 and "\n".join(lines) in (ROOT / "docs/calibration.md").read_text()


def test_the_table_of_replication_is_that_of_the_record() -> None:
    def percent(text: str) -> str:
        return f"{100 * float(text):.1f}"

    lines = [
        f"| {row['backbone']} | {row['threshold']} | {int(row['n_training']):,} | {percent(row['share'])} "
        f"({percent(row['low'])} to {percent(row['high'])}) | {percent(row['background_share'])} | "
        f"{float(row['p50']):.3f} | {percent(row['nearest_is_seen_share'])} | {percent(row['chance'])} |"
        for row in csv.DictReader((ROOT / "results/reference/replication/replication.csv").open())
        if row["similarity"] == "global"
    ]
    assert len(lines) == 12 and "\n".join(lines) in (ROOT / "docs/replication.md").read_text()


RUNS = [("demo", 2, 2), ("real", 8, 4)]


@pytest.mark.parametrize(("name", "n_datasets", "n_similarities"), RUNS)
def test_the_committed_tables_follow_from_their_records(name: str, n_datasets: int, n_similarities: int) -> None:
    folder = ROOT / "results/reference" / name
    scored = read(RunFolder.existing(folder))
    assert list(problems(folder, scored)) == [] and len(scored.evidence) == 7 * n_datasets * n_similarities
    assert {record.body["git"]["dirty"] for record in scored.records} == {False}
    assert {(record.status, record.body["dataset"]["limit"]) for record in scored.records} == {("ok", None)}


SHOWN = ("eth80.map", "caltech101.map", "disc:copydet.map", "disc:copydet.micro_ap")
SYNTHETIC = ("cutmix", "segmix", "outpaint_diagonal", "outpaint_patch", "inpaint")


def test_the_readme_shows_the_committed_leaderboards() -> None:
    shown = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "README.md").read_text().splitlines()
        if re.match(r"\| \d", line)
    ]
    demo = {(row["backbone"], row["similarity"]): row["mean_map"] for row in table("demo")}
    columns = ("mean_map", *SHOWN, *(f"pairs:{kind}.map" for kind in SYNTHETIC))
    expected = [
        [
            *(row[name] for name in ("rank", "backbone", "similarity")),
            *(
                f"{100 * float(value):.1f}"
                for value in (*(row[c] for c in columns), demo[row["backbone"], row["similarity"]])
            ),
            f"{float(row['images_per_s']):.1f}",
        ]
        for row in table("real")
        if row["similarity"] in ("global", "chunked@16")
    ]
    assert shown == expected and len(shown) == 14


def table(run: str) -> list[dict[str, str]]:
    with (ROOT / "results/reference" / run / "leaderboard.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_every_column_and_metric_is_documented(bench: Bench) -> None:
    text = (ROOT / "docs/results.md").read_text()
    for metric in json.loads(bench("list", "metrics", "--json").stdout):
        assert f"`{metric['name']}`" in text
    for column in table("demo")[0]:
        assert "." in column or f"`{column}`" in text
