"""The run folder: one JSON record a cell, each whole or absent, and the configuration they belong to."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from bench.errors import UsageError
from bench.evidence import Evidence, from_bytes
from bench.files import sha256_bytes, sha256_file, write_bytes, write_json
from bench.interfaces import Alpha, Colour
from bench.names import file_name
from bench.plan import Definition
from bench.plugins import natural
from bench.record_shape import lacks
from bench.similarity import Similarity

SCHEMA_VERSION = 4
CONFIG = "run.json"
#: Of the file beside a record that its scores follow from.
EVIDENCE = ".npz"
#: Every table that a run may write; those with random weights say so.
TABLES = (
    "unreadable.csv",
    *(
        f"{name}{mark}.{kind}"
        for name, kind in (
            ("leaderboard", "csv"),
            ("leaderboard", "md"),
            ("leaderboard", "tex"),
            ("ranking", "csv"),
            ("scores", "csv"),
            ("breakdown", "csv"),
            ("gains", "csv"),
        )
        for mark in ("", ".random")
    ),
)

#: Every figure that a report may draw, each in several formats.
FIGURES = ("pareto", "ranks", "heatmap", "chunks", "gain", "difficulty")
#: What else is made of the records, as patterns.
PAGES = (
    *(f"report{mark}.html" for mark in ("", ".random")),
    "leaderboard*.view.*",
    *(f"figures/{name}.*" for name in FIGURES),
)

Status = Literal["ok", "failed", "unavailable"]
WeightsKind = Literal["pretrained", "random"]


@dataclass(frozen=True)
class Config:
    """What decides the numbers in a run folder; a folder holds records of one configuration only.

    The names are in order, so that one selection written in two ways is one configuration. datasets, background:
    identities. limit: of queries a dataset, see bench.sample. alpha, colour: as `bench.interfaces.Preprocess` has them.
    """

    backbones: tuple[str, ...]
    datasets: tuple[str, ...]
    similarities: tuple[str, ...]
    weights: WeightsKind
    seed: int
    device: str
    batch_size: int
    preprocess: str = "official"
    postprocess: str = ""
    background: str | None = None
    limit: int | None = None
    alpha: Alpha = "white"
    colour: Colour = "ignored"


@dataclass(frozen=True)
class Record:
    """One cell's record; `body` is its JSON (docs/results.md describes it)."""

    body: Mapping[str, Any]

    @property
    def cell(self) -> Definition:
        names = self.body["backbone"]["name"], self.body["dataset"]["name"]
        return Definition(*names, Similarity.parse(self.body["similarity"]["spec"]))

    @property
    def status(self) -> Status:
        status: Status = self.body["status"]
        return status

    @property
    def weights(self) -> str:
        """pretrained, random, or none for a descriptor without parameters."""
        return str(self.body["backbone"]["weights"])

    @property
    def fingerprint(self) -> str | None:
        """Hash of everything that decides the cell's scores; None where none were computed."""
        found: str | None = self.body["fingerprint"]
        return found


def row_key(record: Record) -> tuple[Any, ...]:
    """Sort key of a leaderboard's row: backbone, similarity, weights."""
    similarity = record.cell.similarity
    chunks = similarity.tokens, similarity.chunks or 0
    return natural(record.cell.backbone), chunks, similarity.norm, str(similarity), record.weights


def order(record: Record) -> tuple[Any, ...]:
    """Sort key of every table: backbone, similarity, weights, dataset."""
    return *row_key(record), natural(record.cell.dataset)


class RunFolder:
    """A folder of records under one configuration."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records_path = path / "records"
        self._lock = FileLock(self.records_path / ".lock")

    @classmethod
    def open(cls, path: Path, config: Config, overwrite: bool) -> "RunFolder":
        """Create the folder, or go on in it. Raises UsageError where it belongs to another configuration."""
        folder = cls(path)
        wanted = json.loads(json.dumps(asdict(config)))
        folder._require_ours()
        if not overwrite:
            folder._require_same(wanted)
        try:
            folder.records_path.mkdir(parents=True, exist_ok=True)
            folder._lock.acquire(timeout=0)
            folder._clear(everything=overwrite)
            write_json(path / CONFIG, wanted)
        except Timeout as error:
            raise UsageError(f"another run is writing to {path}: wait for it, or choose another --output") from error
        except OSError as error:
            raise UsageError(f"can't write to the folder {path} ({error.strerror}): choose another --output") from error
        return folder

    def _require_ours(self) -> None:
        """Raises UsageError where the folder holds something and no run has written it."""
        if (self.path / CONFIG).exists() or not self.path.is_dir():
            return
        # a run that was killed at its very start leaves these
        begun = {"records", *(entry.name for entry in self.path.glob(".*.tmp"))}
        if any(entry.name not in begun for entry in self.path.iterdir()) or any(self.records_path.glob("*.json")):
            raise UsageError(f"the folder {self.path} is not empty and not a run's: choose another --output")

    def _require_same(self, wanted: Mapping[str, Any]) -> None:
        """Raises UsageError, saying what differs, where the folder belongs to another configuration."""
        if not (self.path / CONFIG).exists():
            return
        before = self.config()
        if "merged_from" in before:
            raise UsageError(
                f"the folder {self.path} is merged from other runs: go on in one of those and merge again, or choose "
                "another --output"
            )
        # of a field that an older version did not have, the default is meant
        before = {of.name: of.default for of in fields(Config) if of.default is not MISSING} | before
        changed = [key for key in wanted if before.get(key) != wanted[key]]
        if changed:
            told = "; ".join(f"{key} was {before.get(key)}, now {wanted[key]}" for key in changed)
            raise UsageError(
                f"the folder {self.path} belongs to another run ({told}): choose another --output, or --overwrite"
            )

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """A folder that a run has left. Raises UsageError for anything else."""
        folder = cls(path)
        if not folder.files():
            raise UsageError(f"the folder {path} holds no records: give a folder that `run` has written")
        return folder

    def config(self) -> dict[str, Any]:
        """The configuration in run.json. Raises UsageError where it can't be read."""
        path = self.path / CONFIG
        if not path.is_file():
            raise UsageError(f"the folder {self.path} has no {CONFIG}, which tells what its records are of: restore it")
        config = _read(path, "restore it")
        lists = [name for name in ("backbones", "datasets", "similarities") if not isinstance(config.get(name), list)]
        if lists or "weights" not in config:
            raise UsageError(f"the file {path} names no {', '.join(lists) or 'weights'}: restore it")
        return config

    def write(self, record: Record, evidence: bytes | None = None) -> None:
        """Write or replace a cell's record, and the .npz file of what its scores follow from."""
        path = self.records_path / record_name(record.cell, record.weights)
        beside = path.with_suffix(EVIDENCE)
        if evidence is None:
            beside.unlink(missing_ok=True)
        else:
            write_bytes(beside, evidence)
        write_json(path, record.body)

    def evidence(self, record: Record) -> Evidence:
        """What a record's scores follow from. Raises UsageError where the file is not the one the record names."""
        path = self._evidence_path(record)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(f"the evidence {path} can't be read ({error.strerror}): run again to make it") from error
        if sha256_bytes(content) != record.body["evidence"]["sha256"]:
            raise UsageError(f"the evidence {path} is not the file its record names: run again to make it")
        return from_bytes(content, str(path))

    def has_evidence(self, record: Record) -> bool:
        """Whether the file is there, as the record names it."""
        path = self._evidence_path(record)
        return path.is_file() and sha256_file(path) == record.body["evidence"]["sha256"]

    def _evidence_path(self, record: Record) -> Path:
        return (self.records_path / record_name(record.cell, record.weights)).with_suffix(EVIDENCE)

    def records(self) -> Iterator[Record]:
        """All records in the order of their file names. Raises UsageError for a file that is none."""
        return map(self.record_at, self.files())

    def files(self) -> list[Path]:
        """Those that records stand in, in order."""
        return sorted(self.records_path.glob("*.json"))

    def record_at(self, path: Path) -> Record:
        """The record in a file. Raises UsageError where it is none, or of another schema."""
        body = _read(path)
        if body.get("schema_version") != SCHEMA_VERSION:
            raise UsageError(
                f"the record {path} has schema {body.get('schema_version')}, this version reads {SCHEMA_VERSION}: "
                "use the version that wrote it, or delete it"
            )
        record, lacking = Record(body), lacks(body)
        try:
            _ = lacking or record.cell
        except UsageError as error:
            lacking = str(error)
        if lacking:
            raise UsageError(f"the file {path} is not a whole record ({lacking}): delete it and run again")
        return record

    def _clear(self, everything: bool) -> None:
        """Drop what a killed run left half-written; or everything that a run writes, and nothing else."""
        half_written = [*self.records_path.glob(".*.tmp"), *self.path.glob(".*.tmp")]
        records = [*self.records_path.glob("*.json"), *self.records_path.glob(f"*{EVIDENCE}")]
        made = [path for pattern in PAGES for path in self.path.glob(pattern)]
        written = [*records, *made, *(self.path / name for name in (*TABLES, CONFIG))]
        for path in half_written + (written if everything else []):
            path.unlink(missing_ok=True)


def record_name(cell: Definition, weights: str) -> str:
    """File name of a cell's record; random weights are named in it."""
    parts = [cell.backbone, *(["random"] if weights == "random" else []), cell.dataset, str(cell.similarity)]
    plain = "--".join(parts)
    return file_name(plain, ".json")


def _no_number(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which JSON has not")


def _read(path: Path, remedy: str = "delete it and run again") -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"the file {path} can't be read as JSON ({error}): {remedy}") from error
    if not isinstance(body, dict):
        raise UsageError(f"the file {path} is not a JSON object: {remedy}")
    return body
