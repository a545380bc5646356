"""What the records of one table must have in common, and those that are set aside because they have it not."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from bench.records import Record


def agreed(record: Record) -> Iterator[tuple[str, Any]]:
    """What must be the same wherever it was measured, where it is known: of all, of the backbone, and of the dataset.

    Where it was measured is no part of it: scores of several machines stand in one table, speeds do not compare.
    """
    body, backbone, dataset = record.body, record.cell.backbone, record.cell.dataset
    limit = body["dataset"]["limit"]
    yield "--preprocess", body["preprocess"]["mode"]
    yield "--postprocess", body["postprocess"]["spec"]
    yield "--background", body["postprocess"]["fit_set"]
    yield "--limit", limit
    if record.weights == "random" or limit is not None:  # a seed decides these, and nothing else
        yield "--seed", body["seed"]
    yield f"the list of metrics of {dataset}", body["dataset"]["metrics"]
    yield f"the kind of {dataset}", body["dataset"]["kind"]
    yield f"the kind of weights of {backbone}", record.weights
    yield f"the precision of {backbone}", body["precision"]
    if (manifest := body["dataset"].get("manifest_sha256")) is not None:
        yield f"the manifest of {dataset}", manifest
    if (sha256 := body["backbone"]["weights_sha256"]) is not None:
        yield f"the weights' sha256 of {backbone}", sha256
    # the mode is told above, and the data decide on the crop of queries
    own = {name: value for name, value in body["preprocess"].items() if name not in ("mode", "query_crop")}
    yield f"the preprocessing of {backbone}", own
    yield from ((f"the version of the metric {name}", of) for name, of in body["metric_versions"].items())


def fitting(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Those without scores and those that agree with most others, and a sentence on what the rest does not agree in.

    One thing after the other, and what is left out by one has no vote on the next. Of two values that equally many
    records have, the one of the newest counts.
    """
    told = {id(record): dict(agreed(record)) for record in records if record.status == "ok"}
    kept, problems = list(records), []
    for what in dict.fromkeys(what for of in told.values() for what in of):
        having: dict[str, list[Record]] = {}
        for record in kept:
            if what in told.get(id(record), {}):
                having.setdefault(json.dumps(told[id(record)][what], sort_keys=True), []).append(record)
        ranked = sorted(having, key=lambda value: (len(having[value]), _newest(having[value])), reverse=True)
        others = ranked[1:]
        for other in others:
            problems.append(
                f"{what} is {other} in {_told(having[other])}, left out, and {ranked[0]} in "
                f"{_told(having[ranked[0]])}: run again what is left out"
            )
        aside = {id(record) for other in others for record in having[other]}
        kept = [record for record in kept if id(record) not in aside]
    return kept, problems


def _newest(records: Sequence[Record]) -> str:
    return max(str(record.body["created_utc"]) for record in records)


def _told(records: Sequence[Record]) -> str:
    if len(records) == 1:
        return f"the record of {records[0].cell}"
    return f"{len(records):,} records"
