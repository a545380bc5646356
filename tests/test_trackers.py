"""Trackers: the real packages, where they are installed, told of real records; and none of them breaks a run."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.records import Record
from bench.trackers import Tracked, tracking
from tests.conftest import ROOT
from tests.run_folders import make_run, record_body

CONFIG = {"weights": "pretrained", "seed": 0, "datasets": ["one"]}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Two cells with scores and one that failed."""
    made = make_run(tmp_path_factory.mktemp("tracked") / "run", {"near": 0.4, "far": 1.2}, {"one": 1}, tables=False)
    body: dict[str, Any] = record_body("broken", "one", "pretrained")
    error = {"phase": "extract", "type": "E", "message": "it broke"}
    body |= {"status": "failed", "error": error, "metrics": {}, "throughput": None}
    return [*made.records(), Record(body)]


def told(wanted: str, output: Path, records: list[Record]) -> None:
    with tracking(wanted, output, CONFIG) as track:
        for record in records:
            track(record)
    assert track.problem is None


def test_tensorboard_reads_the_scores(records: list[Record], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told("tensorboard", tmp_path, records)
    for record in records[:2]:
        events = EventAccumulator(str(tmp_path / "tensorboard" / f"{record.cell.backbone} global"))
        events.Reload()
        read = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
        names = {"map": "map", "hit@1": "hit_1", "micro_ap": "micro_ap"}
        for name, tag in names.items():
            assert read[f"one/{tag}"] == pytest.approx(record.body["metrics"][name])
        assert read["one/images_per_s"] == 10.0
    broken = EventAccumulator(str(tmp_path / "tensorboard/broken global"))
    broken.Reload()
    assert broken.Tags()["scalars"] == [] and "one/failed/text_summary" in broken.Tags()["tensors"]


def test_tensorboard_writes_where_it_is_told(records: list[Record], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    told(f"tensorboard:{tmp_path / 'logs'}", tmp_path / "out", records[:1])
    assert list((tmp_path / "logs").rglob("events.*")) and not (tmp_path / "out").exists()


def test_mlflow_keeps_a_run_for_each_cell(records: list[Record], tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")  # with SQLAlchemy; mlflow-skinny brings neither
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    told(f"mlflow:{store}", tmp_path, records)
    told(f"mlflow:{store}", tmp_path, records[:1])  # the experiment is there already
    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("descriptor-bench")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 4
    by_name = {run.data.params["backbone"]: run for run in runs}
    for record in records[:2]:
        run = by_name[record.cell.backbone]
        assert run.info.status == "FINISHED" and run.data.params["weights"] == "pretrained"
        assert run.data.metrics["map"] == record.body["metrics"]["map"]
        assert run.data.metrics["hit_1"] == record.body["metrics"]["hit@1"]
        assert run.info.run_name == str(record.cell)
    assert by_name["broken"].info.status == "FAILED" and by_name["broken"].data.tags["error"] == "it broke"


def test_wandb_keeps_a_run_on_this_machine(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    told("wandb:a-project", tmp_path, records)
    wandb.teardown()  # its service writes the last bytes, as at the end of a process
    (log,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    content = log.read_bytes()
    for record in records[:2]:
        assert f"{record.cell}/map".encode() in content
        assert str(record.body["metrics"]["map"]).encode() in content
    assert b"a-project" in content and b'"failed"' in content


def test_a_tracker_that_refuses_a_record_does_not_end_the_run(records: list[Record]) -> None:
    heard = []

    def full(record: Record) -> None:
        heard.append(record)
        if len(heard) == 2:
            raise ConnectionError("no route")

    track = Tracked(full)
    for record in records:
        track(record)
    assert heard == records[:2]
    assert track.problem == f"the tracker was told no more from {records[1].cell} on (ConnectionError: no route)"


def test_off_by_default(records: list[Record], tmp_path: Path) -> None:
    with tracking(None, tmp_path, CONFIG) as track:
        track(records[0])
    assert track.problem is None and not list(tmp_path.iterdir())


def test_an_unknown_tracker_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="there is no tracker 'neptune': write mlflow, wandb, tensorboard"),
        tracking("neptune:x", tmp_path, CONFIG),
    ):
        pass


@pytest.mark.parametrize("name", ["mlflow", "wandb", "tensorboard"])
def test_a_package_that_is_not_there_is_told_with_its_extra(name: str, tmp_path: Path) -> None:
    """In a process in which nothing of that name can be imported."""
    code = (
        f"import sys; sys.modules[{name!r}] = None\n"
        "from pathlib import Path\n"
        "from bench.errors import UsageError\n"
        "from bench.trackers import tracking\n"
        "try:\n"
        f"    with tracking({name!r}, Path({str(tmp_path)!r}), {{}}): pass\n"
        "except UsageError as error: print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert ran.stdout == f"--track {name} needs {name}: pip install 'descriptor-bench[{name}]'\n", ran.stderr
    assert not list(tmp_path.iterdir())


def test_a_target_that_can_not_be_opened_is_told(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"--track tensorboard:.*/file/logs can't be opened \("),
        tracking(f"tensorboard:{tmp_path / 'file/logs'}", tmp_path, CONFIG),
    ):
        pass
