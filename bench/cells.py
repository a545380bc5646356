"""What identifies a computation: the descriptor key, a cell's fingerprint, and the record of its outcome."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import provenance
from bench.data.loaded_dataset import LoadedDataset
from bench.descriptor import DescriptorKind
from bench.evaluate import Evaluation
from bench.extract import GLOBAL, DType
from bench.files import sha256_bytes, sha256_text
from bench.interfaces import TRAINING_FREE, Backbone, Dataset, Preprocess
from bench.manifest import Manifest
from bench.metrics import parse
from bench.plan import Definition
from bench.plugins import ROOT, Selected
from bench.postprocess import Pipeline
from bench.preprocess import Mode
from bench.records import SCHEMA_VERSION, Config, Record, Status
from bench.similarity import Similarity
from bench.store import Stored


@dataclass(frozen=True)
class Failure:
    """Why a cell has no scores. phase: weights, dataset, background, extract or evaluate."""

    status: Status
    phase: str
    type: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """A cell's scores. evidence: the file of what they follow from."""

    evaluation: Evaluation
    evidence: bytes
    fingerprint: str
    stored: Stored
    duration_s: float


def weights_kind(backbone: Backbone, config: Config) -> str:
    """pretrained or random, or none where there is nothing to train."""
    return TRAINING_FREE if backbone.weights.source == TRAINING_FREE else config.weights


def preprocessing(backbone: Backbone, config: Config) -> Preprocess:
    """How the run brings images to this backbone."""
    mode = Mode.parse(config.preprocess).apply(backbone.preprocess)
    return replace(mode, alpha=config.alpha, colour=config.colour)


def kind_of(similarity: Similarity) -> DescriptorKind:
    """The descriptors that a similarity compares."""
    return DescriptorKind(similarity.tokens, similarity.grid)


def descriptor_key(
    chosen: Selected[Backbone],
    config: Config,
    weights_sha256: str | None,
    images_sha256: str,
    kind: DescriptorKind = GLOBAL,
    dtype: DType = "float32",
) -> dict[str, Any]:
    """Everything that decides the descriptors of a set of images."""
    backbone = chosen.item
    trained = weights_kind(backbone, config)
    # the plugin's own file, the classes it builds on, and the shared parts of backbones/; modules of its own beside
    # them are not seen
    files = {
        chosen.source,
        *(ROOT / "backbones").glob("_*.py"),
        *(ROOT / "bench" / "images").glob("*.py"),
        *(ROOT / "bench" / name for name in ("descriptors/batches.py", "extract.py", "descriptor.py")),
    }
    files |= {Path(inspect.getfile(c)) for c in type(backbone).__mro__ if c.__module__ not in ("abc", "builtins")}
    return {
        "backbone": backbone.name,
        "arch": backbone.arch,
        "weights": f"random, seed {config.seed}" if trained == "random" else weights_sha256 or trained,
        "preprocess": asdict(preprocessing(backbone, config)),
        "images": images_sha256,
        "descriptor": str(kind),
        "dtype": dtype,
        "precision": backbone.precision,
        "device": config.device.partition(":")[0],
        "packages": provenance.versions((*provenance.DESCRIPTOR_PACKAGES, *backbone.packages)),
        "code": provenance.code_hash(files),
    }


def fingerprint(
    key: Mapping[str, Any],
    dataset: Dataset,
    data: Manifest,
    similarity: Similarity,
    pipeline: Pipeline,
    background_sha256: str | None,
) -> str:
    """Hash of everything that decides a cell's scores."""
    bench = ROOT / "bench"
    files = [
        bench / "evaluate.py",
        bench / "evidence.py",
        bench / "postprocess.py",
        *(bench / "similarity").glob("*.py"),
        *(bench / "metrics").glob("*.py"),
    ]
    measured = [dataset.metrics, dataset.candidates, data.sha256]
    parts = [key, measured, str(similarity), str(pipeline), background_sha256, provenance.code_hash(files)]
    return sha256_text(json.dumps([SCHEMA_VERSION, *parts], sort_keys=True))


def record(
    cell: Definition,
    backbone: Backbone,
    dataset: Dataset,
    config: Config,
    argv: list[str],
    weights_source: str | None,
    weights_sha256: str | None,
    data: LoadedDataset | None,
    result: Outcome | Failure,
) -> Record:
    """The record of a cell, as docs/results.md describes it. weights_source, weights_sha256: of the file in use."""
    ok = result if isinstance(result, Outcome) else None
    failure = result if isinstance(result, Failure) else None
    return Record(
        {
            "schema_version": SCHEMA_VERSION,
            "status": failure.status if failure else "ok",
            "error": asdict(failure) if failure else None,
            "fingerprint": ok.fingerprint if ok else None,
            "run_id": provenance.run_id(),
            "created_utc": provenance.now(),
            "duration_s": round(ok.duration_s, 3) if ok else None,
            "backbone": _backbone(backbone, config, weights_source, weights_sha256, ok.stored if ok else None),
            "preprocess": _preprocess(backbone, config, data),
            "dataset": _dataset(dataset, config, data),
            "similarity": _similarity(cell.similarity),
            "postprocess": Pipeline.parse(config.postprocess).described()
            | {"l2": cell.similarity.norm != "none", "fit_set": config.background},  # by the search, after all steps
            "search": {
                "metric": "inner product" if cell.similarity.norm == "none" else "cosine",
                "candidates": f"global:{dataset.candidates}" if dataset.candidates else "full",
                "tie_rule": "pessimistic",
            },
            "metrics": {name: score.value for name, score in ok.evaluation.scores.items()} if ok else {},
            "n_used": {name: score.n_queries for name, score in ok.evaluation.scores.items()} if ok else {},
            "metric_versions": {name: parse(name)[0].version for name in dataset.metrics} if ok else {},
            "by_tag": _by_tag(ok.evaluation) if ok else {},
            "evidence": {"sha256": sha256_bytes(ok.evidence)} if ok else None,
            "throughput": _throughput(ok.stored, config) if ok else None,
            "precision": backbone.precision,
            "seed": config.seed,
            "argv": argv,
            "git": provenance.git(),
            "packages": provenance.versions((*provenance.PACKAGES, *backbone.packages)),
            "hardware": provenance.hardware(config.device),
        }
    )


def _preprocess(backbone: Backbone, config: Config, data: LoadedDataset | None) -> dict[str, Any]:
    described = asdict(preprocessing(backbone, config))
    return {"mode": config.preprocess, **described, "query_crop": data.manifest.query_crop if data else None}


def _backbone(
    backbone: Backbone, config: Config, source: str | None, sha256: str | None, stored: Stored | None
) -> dict[str, Any]:
    n_parameters = stored.n_parameters if stored else None
    return {
        "name": backbone.name,
        "arch": backbone.arch,
        "weights": weights_kind(backbone, config),
        "pretrain": backbone.weights.pretraining,
        "licence": backbone.weights.licence,
        "non_commercial": backbone.weights.non_commercial,
        "citation": backbone.weights.citation,
        "weights_url": source or backbone.weights.source,
        "weights_sha256": sha256,
        "embed_dim": backbone.embed_dim,
        "params_m": None if n_parameters is None else n_parameters / 1e6,
    }


def _throughput(stored: Stored, config: Config) -> dict[str, Any] | None:
    """None where the descriptors come from another machine or another batch size: their speed is not this run's."""
    here = provenance.hardware(config.device), config.batch_size
    if stored.throughput is None or (stored.hardware, stored.throughput.batch_size) != here:
        return None
    return asdict(stored.throughput) | {"measured_utc": stored.measured_utc}


def _dataset(dataset: Dataset, config: Config, data: LoadedDataset | None) -> dict[str, Any]:
    own = {"name": dataset.name, "kind": dataset.kind, "metrics": list(dataset.metrics), "limit": config.limit}
    if data is None:
        return own
    described = asdict(data.manifest)
    del described["query_crop"]  # part of the preprocessing
    found = {"manifest_sha256" if name == "sha256" else name: value for name, value in described.items()}
    lost = {
        "unreadable": dict(data.unreadable),
        "n_needed_unreadable": data.needed,
        "background_unreadable": dict(data.background_unreadable),
        "skipped": dict(data.split.skipped),
    }
    return own | found | lost


def _by_tag(evaluation: Evaluation) -> dict[str, Any]:
    return {tag: {name: asdict(score) for name, score in scores.items()} for tag, scores in evaluation.by_tag.items()}


def _similarity(similarity: Similarity) -> dict[str, Any]:
    in_chunks = similarity.tokens or similarity.chunks is not None
    return {
        "spec": str(similarity),
        "kind": "cross" if similarity.cross else "chunked" if in_chunks else "global",
        "descriptor": str(kind_of(similarity)),
        "chunks": similarity.chunks,
        "grid": list(similarity.grid) if similarity.grid else None,
        "chunk_norm": similarity.norm if in_chunks else None,
        "cross": similarity.cross,
    }
