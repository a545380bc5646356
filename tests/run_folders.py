"""Run folders for tests: records and evidence as a run writes them, of descriptors whose noise is known."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.evaluate import evaluate
from bench.evidence import to_bytes
from bench.files import sha256_bytes, write_json
from bench.interfaces import GroundTruth, ImageFile, Split
from bench.records import CONFIG, SCHEMA_VERSION, Record, RunFolder
from bench.report import write_tables
from bench.scored import read
from bench.similarity import Similarity

METRICS = ["map", "hit@1", "micro_ap", "threshold@p90"]
CONFIGURED = {
    "similarities": ["global"],
    "weights": "pretrained",
    "seed": 0,
    "device": "cpu",
    "batch_size": 32,
    "preprocess": "official",
    "postprocess": "",
    "background": None,
    "limit": None,
}


def make_run(
    folder: Path,
    noise: Mapping[str, float],
    datasets: Mapping[str, int],
    n_queries: int = 40,
    seed: int = 0,
    weights: str = "pretrained",
    tables: bool = True,
) -> RunFolder:
    """A run folder with its tables. noise: by backbone, how far its descriptors are from the truth; datasets: seeds.

    The same dataset has the same queries and truth in every folder; seed: of the noise.
    """
    made = RunFolder(folder)
    for dataset, of_data in datasets.items():
        truth = np.random.default_rng(of_data).normal(size=(3 * n_queries, 16)).astype(np.float32)
        for backbone, far in noise.items():
            rng = np.random.default_rng((seed, of_data, len(backbone)))
            add_cell(
                made, backbone, dataset, truth, truth + far * rng.normal(size=truth.shape).astype(np.float32), weights
            )
    config = {"backbones": sorted(noise), "datasets": sorted(datasets), **CONFIGURED, "weights": weights, "seed": seed}
    write_json(folder / CONFIG, config)
    if tables:
        write_tables(folder, read(made))
    return made


def add_cell(
    made: RunFolder, backbone: str, dataset: str, truth: np.ndarray, seen: np.ndarray, weights: str = "pretrained"
) -> None:
    """The record and evidence of a cell: the first third of the truth are queries, the rest, as seen, the database.

    Every query but the last has one match; half of the queries have a tag.
    """
    n_queries = len(truth) // 3
    images = [ImageFile(f"{dataset}{row}", Path(f"{row}.png")) for row in range(len(truth))]
    rows = [np.array([query] if query + 1 < n_queries else [], np.int64) for query in range(n_queries)]
    split = Split(
        tuple(images[:n_queries]),
        tuple(ImageFile(f"x{image.id}", image.path) for image in images),
        GroundTruth(tuple(rows), (np.empty(0, np.int64),) * n_queries),
        tags=tuple(("even",) if query % 2 == 0 else () for query in range(n_queries)),
    )
    body = record_body(backbone, dataset, weights)
    body["dataset"]["manifest_sha256"] = sha256_bytes(truth.tobytes())
    write_cell(made, body, split, truth[:n_queries], seen)


def write_cell(made: RunFolder, body: dict[str, Any], split: Split, queries: np.ndarray, database: np.ndarray) -> None:
    """Write a record and its evidence, with the scores that these descriptors have by the metrics it names."""
    found = evaluate(queries, database, split, body["dataset"]["metrics"], Similarity())
    content = to_bytes(found.evidence)
    by_tag = {tag: {name: asdict(score) for name, score in of.items()} for tag, of in found.by_tag.items()}
    body["dataset"]["n_queries"] = len(split.queries)
    body["metrics"] = {name: score.value for name, score in found.scores.items()}
    body["n_used"] = {name: score.n_queries for name, score in found.scores.items()}
    body["metric_versions"] = dict.fromkeys(found.scores, 1)
    body |= {"by_tag": by_tag, "evidence": {"sha256": sha256_bytes(content)}}
    made.write(Record(body), content)


def record_body(backbone: str, dataset: str, weights: str) -> dict[str, Any]:
    """A record without scores yet."""
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "ok",
        "error": None,
        "fingerprint": "f",
        "run_id": "0123456789abcdef",
        "created_utc": "2026-01-01T00:00:00+00:00",
        "duration_s": 0.1,
        "backbone": {
            "name": backbone,
            "arch": "made",
            "weights": weights,
            "pretrain": "none",
            "licence": "",
            "non_commercial": False,
            "citation": "",
            "weights_url": "none",
            "weights_sha256": sha256_bytes(backbone.encode()),
            "embed_dim": 16,
            "params_m": 0.0,
        },
        "preprocess": {
            "mode": "official",
            "resize": "none",
            "size": None,
            "crop": None,
            "interpolation": "bicubic",
            "mean": None,
            "std": None,
            "draft": False,
            "query_crop": False,
        },
        "dataset": {"name": dataset, "kind": "copy", "metrics": list(METRICS), "limit": None},
        "similarity": {"spec": "global", "kind": "global"},
        "postprocess": {"spec": "", "l2": True, "fit_set": None},
        "search": {"metric": "cosine", "candidates": "full", "tie_rule": "pessimistic"},
        "metrics": {},
        "n_used": {},
        "metric_versions": {},
        "by_tag": {},
        "throughput": {"images_per_s": 10.0, "n_images": 30, "batch_size": 32},
        "precision": "fp32",
        "seed": 0,
        "argv": ["bench", "run"],
        "git": {"sha": "a" * 40, "dirty": False},
        "packages": {"torch": "2.14.1", "timm": "1.0.31", "pillow": "13.0.0", "numpy": "2.4.6"},
        "hardware": {
            "device": "cpu",
            "cpu": "a CPU",
            "cores": 2,
            "threads": 2,
            "ram_gb": 8.0,
            "gpu": None,
            "cuda": None,
            "os": "Linux x86_64",
            "python": "3.11.7",
        },
    }
