"""Runs of several machines as one run folder, or why they can't be one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.agreement import agreed
from bench.errors import UsageError
from bench.files import whole_folder, write_bytes, write_json
from bench.plan import Definition
from bench.records import CONFIG, EVIDENCE, Record, RunFolder, order, record_name

#: In run.json of a merged folder: the folders it is from, and their own configurations.
MERGED_FROM = "merged_from"
#: Of a configuration: lists that are joined, and what must be the same everywhere.
_JOINED = ("backbones", "datasets", "similarities")
_SAME = ("weights", "preprocess", "postprocess", "background", "limit")


@dataclass(frozen=True)
class Part:
    """A run folder to be merged."""

    folder: RunFolder
    config: dict[str, Any]
    records: tuple[Record, ...]


def merge(paths: Sequence[Path], output: Path) -> RunFolder:
    """Make the folder `output` of the records and evidence of the runs, whole or not at all; it has no tables yet.

    A cell that several runs have with the same scores is taken once, from the first of them; one that failed gives way
    to one with scores. Raises UsageError, saying what does not fit and where, before anything is written.
    """
    if output.exists():
        raise UsageError(f"{output} is there already: choose another --output")
    parts = [_part(path) for path in paths]
    if len(parts) < 2:
        raise UsageError("one run is nothing to merge: name at least two run folders")
    chosen = _fitting(parts)
    with whole_folder(output) as making:
        (making / "records").mkdir()
        for part, record in chosen:
            name = Path(record_name(record.cell, record.weights))
            for file in (name, name.with_suffix(EVIDENCE)):
                if (source := part.folder.records_path / file).is_file():
                    write_bytes(making / "records" / file, source.read_bytes())
        write_json(making / CONFIG, _config(parts))
    return RunFolder(output)


def _part(path: Path) -> Part:
    folder = RunFolder.existing(path)
    return Part(folder, folder.config(), tuple(sorted(folder.records(), key=order)))


def _fitting(parts: Sequence[Part]) -> list[tuple[Part, Record]]:
    """The record of each cell and whose it is. Raises UsageError where the parts do not fit together."""
    told: dict[str, tuple[Part, Any]] = {}
    chosen: dict[Definition, tuple[Part, Record]] = {}
    for part in parts:
        weights = "--weights", part.config["weights"]
        for what, value in (weights, *(of for record in part.records for of in agreed(record))):
            before, known = told.setdefault(what, (part, value))
            if known != value:
                raise UsageError(_unfit(what, before, known, part, value))
        for record in part.records:
            before, kept = chosen.setdefault(record.cell, (part, record))
            if kept.status == record.status == "ok":
                _require_same_scores(before, kept, part, record)
                if not before.folder.has_evidence(kept):
                    chosen[record.cell] = part, record
            elif record.status == "ok":
                chosen[record.cell] = part, record
    for part, record in chosen.values():
        if record.status == "ok" and not part.folder.has_evidence(record):
            raise UsageError(f"the evidence of {record.cell} in {part.folder.path} is lost or damaged: run again there")
    return list(chosen.values())


def _require_same_scores(before: Part, kept: Record, part: Part, record: Record) -> None:
    for field in ("metrics", "n_used", "by_tag"):
        there, here = kept.body[field], record.body[field]
        for name in dict.fromkeys([*there, *here]):
            if there.get(name) != here.get(name):
                raise UsageError(_unfit(f"{name} of {record.cell}", before, there.get(name), part, here.get(name)))


def _unfit(what: str, before: Part, known: object, part: Part, value: object) -> str:
    return (
        f"these runs don't fit together: {what} is {known} in {before.folder.path} and {value} in {part.folder.path}: "
        "leave one out, or run it again as the other"
    )


def _config(parts: Sequence[Part]) -> dict[str, Any]:
    """Of the merged folder: what is the same in all, and no device or batch size, so that no run goes on in it."""
    configs = [part.config for part in parts]
    joined = {name: sorted({item for config in configs for item in config[name]}) for name in _JOINED}
    seeds = {config["seed"] for config in configs}
    return {
        **joined,
        **{name: configs[0].get(name) for name in _SAME},
        "seed": seeds.pop() if len(seeds) == 1 else None,
        "device": None,
        "batch_size": None,
        MERGED_FROM: [{"folder": str(part.folder.path), **part.config} for part in parts],
    }
