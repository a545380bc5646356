"""What the documents say: the examples run as they stand, the README's table is the committed one."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from bench.records import RunFolder
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


def test_the_committed_tables_follow_from_their_records(tmp_path: Path) -> None:
    from bench.report import write_tables

    folder = ROOT / "results/reference/demo"
    records = list(RunFolder.existing(folder).records())
    write_tables(tmp_path, records, 2)
    for path in tmp_path.iterdir():
        assert path.read_text() == (folder / path.name).read_text()
    assert len(records) == 28 and {record.body["git"]["dirty"] for record in records} == {False}


def test_the_readme_shows_the_committed_leaderboard() -> None:
    shown = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "README.md").read_text().splitlines()
        if re.match(r"\| \d", line)
    ]
    columns = ["mean_map", "demo_copies.map", "demo_copies.micro_ap", "demo_copies.recall@p90", "demo_retrieval.map"]
    with (ROOT / "results/reference/demo/leaderboard.csv").open() as stream:
        expected = [
            [
                *(row[name] for name in ("rank", "backbone", "similarity")),
                *(f"{100 * float(row[name]):.1f}" if row[name] else "" for name in columns),
                f"{float(row['images_per_s']):.1f}",
            ]
            for row in csv.DictReader(stream)
        ]
    assert shown == expected


def test_every_column_and_metric_is_documented(bench: Bench) -> None:
    text = (ROOT / "docs/results.md").read_text()
    for metric in json.loads(bench("list", "metrics", "--json").stdout):
        assert f"`{metric['name']}`" in text
    with (ROOT / "results/reference/demo/leaderboard.csv").open() as stream:
        for column in next(csv.reader(stream)):
            assert "." in column or f"`{column}`" in text
