"""How long everything takes that is made of a run folder: 20 backbones x 10 datasets x 1,000 queries, whole processes.

Run with `python -m pytest tests/benchmarks/test_report.py --benchmark-enable`. Half of the datasets are of copies, with
all their metrics, tags and 1,000 x 1,200 pooled pairs; the images are there, so that the page has its pictures.
"""

import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from bench import plugins
from bench.files import write_json
from bench.interfaces import METRICS_OF_KIND, Dataset
from bench.manifest import manifest
from bench.records import CONFIG, EVIDENCE, Record, RunFolder, record_name
from bench.report.gallery import N_QUERIES
from bench.report.page import MAX_BYTES
from datasets.folder import METRICS
from tests.conftest import ROOT
from tests.run_folders import CONFIGURED, record_body, write_cell

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DIMENSIONS = 16
#: Tags of the queries, as synthetic sets have them.
AREAS = (0.1, 0.3, 0.5, 0.7, 0.9)
#: Runs its arguments and tells their peak memory: the peak of a process begins with that of the one that started it,
#: and that of pytest is large.
MEASURED = (
    "import resource, subprocess, sys; ended = subprocess.run(sys.argv[1:]);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(ended.returncode)"
)


@dataclass(frozen=True)
class Size:
    n_backbones: int
    n_datasets: int
    n_queries: int
    rounds: int

    @property
    def backbones(self) -> list[str]:
        """From the worst to the best."""
        return [f"net{number}" for number in range(self.n_backbones)]


@dataclass(frozen=True)
class Runs:
    """Two run folders with the same data; in B every backbone finds what the next better one finds in A."""

    a: Path
    b: Path
    size: Size


@pytest.fixture(scope="module")
def runs(photo: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Runs:
    """Run folders without tables, small ones where nothing is timed."""
    size = Size(20, 10, 1000, 3) if pytestconfig.getoption("benchmark_enable") else Size(3, 2, 50, 1)
    folder = tmp_path_factory.mktemp("runs")
    made = Runs(folder / "a", folder / "b", size)
    datasets = make_datasets(folder, photo, size)
    for path in (made.a, made.b):
        config = {"backbones": size.backbones, "datasets": sorted(dataset.identity for dataset in datasets)}
        path.mkdir()
        write_json(path / CONFIG, config | CONFIGURED)
    for seed, dataset in enumerate(datasets):
        measure(RunFolder(made.a), dataset, size, seed)
    shift(RunFolder(made.a), RunFolder(made.b), size)
    return made


def make_datasets(folder: Path, photo: Path, size: Size) -> list[Dataset]:
    """Classes of ten images, and as many sets of copies: four of five queries have one, and there are distractors."""
    image = Image.open(photo).convert("RGB")

    def write(path: Path, number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        x, y = number % 251, number * 7 % 151
        image.crop((x, y, x + 200, y + 150)).save(path, quality=80)

    for number in range(size.n_queries):
        write(folder / "classes0" / f"{number // 10}" / f"{number}.jpg", number)
        write(folder / "copies0" / f"q{number}.jpg", number)
    for number in range(size.n_queries * 6 // 5):
        write(folder / "copies0" / f"r{number}.jpg", number + 1)
    with (folder / "copies0" / "pairs.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["query", "reference", "tags"])
        for number in range(size.n_queries):
            match = f"r{number}.jpg" if number % 5 else ""
            rows.writerow([f"q{number}.jpg", match, f"area={AREAS[number // 5 % len(AREAS)]}"])
    names = [f"{kind}{number}" for number in range(size.n_datasets // 2) for kind in ("classes", "copies")]
    for name in names[2:]:
        shutil.copytree(folder / f"{name[:-1]}0", folder / name, copy_function=os.link)
    chosen = [f"{'pairs' if name.startswith('copies') else 'folder'}:{folder / name}" for name in names]
    return [plugins.datasets.select(text)[0].item for text in chosen]


def measure(made: RunFolder, dataset: Dataset, size: Size, seed: int) -> None:
    """The cells of a dataset, of descriptors that lie nearer to the truth the better a backbone is."""
    split = dataset.load()
    counts = asdict(manifest(split))
    known = {"manifest_sha256": counts.pop("sha256"), **counts}
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(len(split.database), DIMENSIONS)).astype(np.float32)
    if split.classes is not None:
        truth = truth[split.classes.database]
    sought = rng.normal(size=(len(split.queries), DIMENSIONS)).astype(np.float32)
    for query, positives in enumerate(split.ground_truth.positives):
        sought[query] = truth[positives[0]] if len(positives) else sought[query]
    for number, backbone in enumerate(size.backbones):
        far = 1.3 - 0.8 * number / (size.n_backbones - 1)
        seen = truth + far * rng.normal(size=truth.shape).astype(np.float32)
        body = record_body(backbone, dataset.name, "pretrained")
        body["dataset"] |= {"kind": dataset.kind, "metrics": list(dataset.metrics), **known}
        body["throughput"]["images_per_s"] = 900.0 / (number + 1)
        write_cell(made, body, split, sought if split.classes is None else seen, seen)


def shift(a: RunFolder, b: RunFolder, size: Size) -> None:
    """Run B of run A: the records and evidence of each backbone under the name of the one before it."""
    before = dict(zip(size.backbones, size.backbones[-1:] + size.backbones[:-1], strict=True))
    for record in a.records():
        evidence = a.records_path / f"{record_name(record.cell, record.weights)}"
        named = record.body["backbone"] | {"name": before[record.cell.backbone]}
        b.write(Record({**record.body, "backbone": named}), evidence.with_suffix(EVIDENCE).read_bytes())


def measured(*arguments: object) -> tuple[str, float]:
    """What `python -m bench ARGUMENTS` prints, and the most memory it had, MB."""
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    text, _, peak = ran.stdout.rstrip().rpartition("\n")
    return text, int(peak) / 1024


def timed(benchmark: BenchmarkFixture, size: Size, *arguments: object, setup: Callable[[], None] | None = None) -> str:
    """What a command prints that is timed as a whole process; its memory stands beside the times."""
    text, peak_mb = benchmark.pedantic(measured, arguments, setup=setup, rounds=size.rounds)
    benchmark.extra_info["peak_rss_mb"] = peak_mb
    return text


def clear(folder: Path) -> None:
    """Leave what a run was measured to be, and nothing that is made of it."""
    shutil.rmtree(folder / "figures", ignore_errors=True)
    for path in folder.glob("*.*"):
        if path.name != CONFIG:
            path.unlink()


@pytest.fixture(scope="module")
def reported(runs: Runs) -> Runs:
    """With the report of run A, where no test before has left it."""
    if not (runs.a / "report.html").is_file():
        measured("report", runs.a)
    return runs


def n_rows(path: Path) -> int:
    with path.open(newline="") as stream:
        return sum(1 for _ in csv.DictReader(stream))


@pytest.mark.benchmark(group="a run folder")
def test_report(benchmark: BenchmarkFixture, runs: Runs) -> None:
    folder, size = runs.a, runs.size
    timed(benchmark, size, "report", folder, setup=lambda: clear(folder))
    page = (folder / "report.html").read_bytes()
    benchmark.extra_info["page_bytes"] = len(page)
    assert len(page) < MAX_BYTES
    pairs = size.n_backbones * size.n_datasets // 2
    assert n_rows(folder / "leaderboard.csv") == size.n_backbones
    assert n_rows(folder / "scores.csv") == pairs * (len(METRICS) + len(METRICS_OF_KIND["copy"]))
    assert n_rows(folder / "breakdown.csv") == pairs * len(AREAS) * len(METRICS_OF_KIND["copy"])
    assert all((folder / name).stat().st_size for name in ("leaderboard.md", "leaderboard.tex", "ranking.csv"))
    for figure in ("pareto", "ranks", "heatmap", "difficulty"):
        assert all((folder / "figures" / f"{figure}.{kind}").stat().st_size for kind in ("pdf", "svg", "png"))
    # each hard query has at least itself and its matches
    assert page.count(b"data:image/jpeg") > size.n_datasets * N_QUERIES


@pytest.mark.benchmark(group="a run folder")
def test_select(benchmark: BenchmarkFixture, runs: Runs) -> None:
    found = json.loads(timed(benchmark, runs.size, "select", runs.a, "--json"))
    assert len(found["chosen"]) == 3 and found["chosen"][0]["backbone"] == runs.size.backbones[-1]
    assert len(found["datasets"]) == runs.size.n_datasets


@pytest.mark.benchmark(group="a run folder")
def test_verify(benchmark: BenchmarkFixture, reported: Runs) -> None:
    n_cells = reported.size.n_backbones * reported.size.n_datasets
    text = timed(benchmark, reported.size, "verify", reported.a)
    assert f"{n_cells} of {n_cells} cells have evidence: all scores follow" in text


@pytest.mark.benchmark(group="a run folder")
def test_compare(benchmark: BenchmarkFixture, runs: Runs, tmp_path: Path) -> None:
    timed(benchmark, runs.size, "compare", runs.a, runs.b, "--output", tmp_path / "changes.csv")
    with (tmp_path / "changes.csv").open(newline="") as stream:
        changes = list(csv.DictReader(stream))
    # by mAP, and copies by micro-AP
    assert len(changes) == runs.size.n_backbones * runs.size.n_datasets * 3 // 2
    assert all(row["p"] and row["statement"] in ("better", "worse", "not separable") for row in changes)
    best = [row["statement"] for row in changes if (row["backbone"], row["metric"]) == (runs.size.backbones[-1], "map")]
    assert set(best) == {"worse"}  # it has what the worst had


@pytest.mark.benchmark(group="the page in Chromium")
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_page(benchmark: BenchmarkFixture, reported: Runs) -> None:
    """From the navigation to the answer to a first click."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER)
        tab = browser.new_page()
        loaded = []

        def use() -> list[str]:
            tab.goto((reported.a / "report.html").as_uri(), wait_until="domcontentloaded")
            tab.locator(".verdict:visible th button", has_text="backbone").first.click()
            tab.get_by_text("Sorted by backbone, ascending.").wait_for(state="attached")
            loaded.append(tab.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))
            return tab.locator(".verdict:visible tbody tr").evaluate_all("rows => rows.map(row => row.dataset.name)")

        found = benchmark.pedantic(use, rounds=5 if reported.size.rounds > 1 else 1)
        browser.close()
    benchmark.extra_info["dom_content_loaded_s"] = statistics.median(loaded) / 1000
    assert [name.split()[0] for name in found] == reported.size.backbones
