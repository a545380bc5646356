"""The files of an experiment, those of its audits among them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench import provenance
from bench.audit import run
from bench.audit import write as auditing
from bench.experiment.figure import replication
from bench.experiment.folder import part
from bench.experiment.make import Generating
from bench.experiment.replication import Auditing, Outcome
from bench.experiment.table import as_csv, conclusions, rows
from bench.files import write_json, write_text
from bench.generate.folder import PACKAGES

TABLE, SUMMARY = "replication.csv", "replication.json"


def everything(
    folder: Path,
    outcome: Outcome,
    generating: Generating,
    wanted: Auditing,
    unavailable: Mapping[str, str],
    argv: Sequence[str],
    workers: int,
) -> list[Path]:
    """All files of an experiment of which something came; their paths, those of the audits aside. Raises OSError."""
    device = generating.training.device
    for place in range(len(generating.sizes)):
        _write_audit(folder, outcome, place, wanted, unavailable, argv, device, workers)
    write_text(folder / TABLE, as_csv(rows(outcome.found)))
    told = {
        "images": generating.source.identity,
        "n_images": outcome.found[0].n_images,
        "subsets": list(generating.sizes),
        "training": asdict(generating.training),
        "sampling": asdict(generating.sampling),
        "audit": _settings(wanted),
        "conclusions": [asdict(conclusion) for conclusion in conclusions(outcome.found)],
        "failed": dict(outcome.failed),
        "unavailable": dict(unavailable),
        "argv": list(argv),
        "hardware": provenance.hardware(device),
        "packages": provenance.versions((*provenance.PACKAGES, *PACKAGES)),
        "git": provenance.git(),
        "finished": provenance.now(),
    }
    write_json(folder / SUMMARY, told)
    return [folder / TABLE, folder / SUMMARY, *auditing.write_figure(folder, replication(outcome.found))]


def _settings(wanted: Auditing) -> dict[str, Any]:
    return {
        "similarities": list(map(str, wanted.similarities)),
        **asdict(wanted.settings),
        "thresholds": list(map(str, wanted.settings.thresholds)),
    }


def _write_audit(
    folder: Path,
    outcome: Outcome,
    place: int,
    wanted: Auditing,
    unavailable: Mapping[str, str],
    argv: Sequence[str],
    device: str,
    workers: int,
) -> None:
    """That of one model, by its place among them, as `audit` writes it."""
    models = [of.models[place] for of in outcome.found]
    one = part(folder, models[0].n_training)
    unreadable = {run.GENERATED: models[0].unreadable, run.TRAINING: {}}
    audited = run.Outcome([model.audited for model in models], False, unreadable, outcome.failed, unavailable)
    settings = replace(wanted.settings, top_k=models[0].audited.verdict.settings.top_k)
    asked = run.Wanted(str(one.samples), str(one.seen), wanted.similarities, settings)
    auditing.everything(one.audit, audited, asked, argv, device, workers)
