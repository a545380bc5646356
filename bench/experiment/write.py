"""The files of an experiment, those of its audits among them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import provenance
from bench.audit import run
from bench.audit import write as auditing
from bench.audit.calibration import Calibration
from bench.audit.describing import Tried
from bench.experiment.examples import examples
from bench.experiment.figure import replication
from bench.experiment.folder import THRESHOLDS, part
from bench.experiment.make import Generating
from bench.experiment.replication import Auditing, Dependence
from bench.experiment.table import as_csv, conclusions, rows
from bench.files import write_json, write_text
from bench.generate.folder import PACKAGES

TABLE, SUMMARY = "replication.csv", "replication.json"


def everything(
    folder: Path,
    outcome: Tried[Dependence],
    generating: Generating,
    wanted: Auditing,
    argv: Sequence[str],
    workers: int,
) -> list[Path]:
    """All files of an experiment of which something came; their paths, those of the audits aside. Raises OSError."""
    device = generating.training.device
    for place in range(len(generating.sizes)):
        _write_audit(folder, outcome, place, wanted, argv, device, workers)
    write_text(folder / TABLE, as_csv(rows(outcome.found)))
    tables = [folder / TABLE]
    if wanted.settings.calibration is None:
        tables.append(folder / THRESHOLDS)
        Calibration(tables[-1], tuple(row for of in outcome.found for row in of.calibrated)).write()
    told = {
        "images": generating.source.identity,
        "n_images": outcome.found[0].n_images,
        "subsets": list(generating.sizes),
        "training": asdict(generating.training),
        "sampling": asdict(generating.sampling),
        "audit": _settings(wanted),
        "conclusions": [asdict(conclusion) for conclusion in conclusions(outcome.found)],
        "failed": dict(outcome.failed),
        "unavailable": dict(outcome.unavailable),
        "argv": list(argv),
        "hardware": provenance.hardware(device),
        "packages": provenance.versions((*provenance.PACKAGES, *PACKAGES)),
        "git": provenance.git(),
        "finished": provenance.now(),
    }
    write_json(folder / SUMMARY, told)
    figures = (replication(outcome.found), examples(outcome.found[0]))
    written = [path for drawn in figures for path in auditing.write_figure(folder, drawn)]
    return [*tables, folder / SUMMARY, *written]


def _settings(wanted: Auditing) -> dict[str, Any]:
    return {
        "similarities": list(map(str, wanted.similarities)),
        **wanted.settings.told,
        "thresholds": list(map(str, wanted.settings.thresholds)),
    }


def _write_audit(
    folder: Path,
    outcome: Tried[Dependence],
    place: int,
    wanted: Auditing,
    argv: Sequence[str],
    device: str,
    workers: int,
) -> None:
    """That of one model, by its place among them, as `audit` writes it."""
    models = [of.models[place] for of in outcome.found]
    one = part(folder, models[0].n_training)
    left_out = {run.GENERATED: models[0].left_out, run.TRAINING: models[0].audited.training.left_out}
    audited = run.Outcome([model.audited for model in models], False, left_out, outcome.failed, outcome.unavailable)
    settings = models[0].audited.verdict.settings
    asked = run.Wanted(str(one.samples), str(one.seen), wanted.similarities, settings)
    auditing.everything(one.audit, audited, asked, argv, device, workers)
