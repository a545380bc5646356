"""Telling MLflow, Weights & Biases or TensorBoard of a run's records: optional, and never what a run depends on."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.records import Record

#: Told of every record that a run settles.
Tracker = Callable[[Record], None]
Tracking = Callable[[str | None, Path, Mapping[str, Any]], Iterator[Tracker]]

#: Of the experiment or project, where a target names no other.
PROJECT = "descriptor-bench"


class Tracked:
    """Passes records on to a tracker; the first that it refuses ends that, and not the run. problem: what it said."""

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker = tracker
        self.problem: str | None = None

    def __call__(self, record: Record) -> None:
        if self._tracker is None or self.problem:
            return
        try:
            self._tracker(record)
        except Exception as error:  # noqa: BLE001 - a server or disk of others, which may fail in any way
            self.problem = f"the tracker was told no more from {record.cell} on ({type(error).__name__}: {error})"


@contextmanager
def tracking(wanted: str | None, output: Path, config: Mapping[str, Any]) -> Iterator[Tracked]:
    """What `--track NAME[:TARGET]` asks for, for the time of a run over the folder `output`; nothing for None.

    Raises UsageError for a name that there is not, and where its package is not installed or refuses the target.
    """
    if wanted is None:
        yield Tracked(None)
        return
    name, _, target = wanted.partition(":")
    if name not in _TRACKERS:
        raise UsageError(f"there is no tracker '{name}': write {', '.join(_TRACKERS)}, or NAME:TARGET")
    opened = contextmanager(_TRACKERS[name])(target or None, output, config)
    try:
        tracker = opened.__enter__()
    except ImportError as error:
        raise UsageError(f"--track {name} needs {error.name}: pip install 'descriptor-bench[{name}]'") from error
    except Exception as error:
        raise UsageError(f"--track {wanted} can't be opened ({type(error).__name__}: {error})") from error
    try:
        yield Tracked(tracker)
    finally:
        opened.__exit__(None, None, None)


def _mlflow(target: str | None, output: Path, config: Mapping[str, Any]) -> Iterator[Tracker]:
    """A run of MLflow for each cell. target: tracking URI, else MLflow's own (MLFLOW_TRACKING_URI)."""
    import mlflow
    from mlflow.entities import Metric, Param

    client = mlflow.MlflowClient(tracking_uri=target)
    found = client.get_experiment_by_name(PROJECT)
    experiment = found.experiment_id if found else client.create_experiment(PROJECT)

    def told(record: Record) -> None:
        tags = {"status": record.status, "run_id": record.body["run_id"], "output": str(output)}
        tags |= {"error": record.body["error"]["message"]} if record.status != "ok" else {}
        run = client.create_run(experiment, run_name=str(record.cell), tags=tags)
        params = [Param(name, str(value)) for name, value in {**config, **_cell(record)}.items()]
        metrics = [Metric(_plain(name), value, 0, 0) for name, value in _scores(record).items()]
        client.log_batch(run.info.run_id, metrics=metrics, params=params)
        client.set_terminated(run.info.run_id, "FINISHED" if record.status == "ok" else "FAILED")

    yield told


def _wandb(target: str | None, output: Path, config: Mapping[str, Any]) -> Iterator[Tracker]:
    """One run of W&B, with scores by cell. target: project; WANDB_MODE=offline keeps all on this machine."""
    import wandb

    run = wandb.init(project=target or PROJECT, dir=str(output), config=dict(config))

    def told(record: Record) -> None:
        run.log({f"{record.cell}/{name}": value for name, value in _scores(record).items()})
        run.summary[f"{record.cell}/status"] = record.status

    try:
        yield told
    finally:
        run.finish()


def _tensorboard(target: str | None, output: Path, config: Mapping[str, Any]) -> Iterator[Tracker]:
    """A scalar per dataset and metric, in a run for each backbone and similarity. target: folder of the logs."""
    from torch.utils.tensorboard import SummaryWriter

    folder = Path(target) if target else output / "tensorboard"
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("configuration", "\n\n".join(f"{name}: {value}" for name, value in config.items()))

    def told(record: Record) -> None:
        cell = record.cell
        with SummaryWriter(str(folder / _plain(f"{cell.backbone} {cell.similarity}"))) as writer:
            for name, value in _scores(record).items():
                writer.add_scalar(_plain(f"{cell.dataset}/{name}"), value)
            if record.status != "ok":
                error = record.body["error"]["message"]
                writer.add_text(_plain(f"{cell.dataset}/{record.status}"), error)

    yield told


def _scores(record: Record) -> dict[str, float]:
    """The scores that exist, and the images described per second where they were measured."""
    speed = {"images_per_s": record.body["throughput"]["images_per_s"]} if record.body["throughput"] else {}
    return {name: value for name, value in record.body["metrics"].items() if value is not None} | speed


def _cell(record: Record) -> dict[str, str]:
    cell = record.cell
    return {"backbone": cell.backbone, "dataset": cell.dataset, "similarity": str(cell.similarity)}


def _plain(name: str) -> str:
    """The name with what trackers take in names alone."""
    return re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII)


_TRACKERS: Mapping[str, Tracking] = {"mlflow": _mlflow, "wandb": _wandb, "tensorboard": _tensorboard}
