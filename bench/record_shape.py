"""What every record has that tables, figures and pages are made of, and what of it a file lacks."""

from collections.abc import Iterator, Mapping
from typing import Any

Shape = Mapping[str, Any]

_TEXT, _WHOLE, _NUMBER, _FLAG, _LIST, _NONE = (str,), (int,), (int, float), (bool,), (list,), (type(None),)

#: Of each field the types it may have, or the fields in it.
_ALWAYS: Shape = {
    "status": _TEXT,
    "run_id": _TEXT,
    "created_utc": _TEXT,
    "backbone": {
        "name": _TEXT,
        "arch": _TEXT,
        "weights": _TEXT,
        "pretrain": _TEXT,
        "licence": _TEXT,
        "non_commercial": _FLAG,
        "citation": _TEXT,
        "weights_url": _TEXT,
        "weights_sha256": _TEXT + _NONE,
        "embed_dim": _WHOLE + _NONE,
        "params_m": _NUMBER + _NONE,
    },
    "preprocess": {"mode": _TEXT},
    "dataset": {"name": _TEXT, "kind": _TEXT, "metrics": _LIST, "limit": _WHOLE + _NONE},
    "similarity": {"spec": _TEXT, "kind": _TEXT},
    "postprocess": {"spec": _TEXT, "fit_set": _TEXT + _NONE},
    "metrics": {},
    "n_used": {},
    "metric_versions": {},
    "by_tag": {},
    "precision": _TEXT,
    "seed": _WHOLE,
    "argv": _LIST,
    "git": {"sha": _TEXT + _NONE, "dirty": _FLAG + _NONE},
    "packages": {"torch": _TEXT + _NONE, "timm": _TEXT + _NONE, "pillow": _TEXT + _NONE},
    "hardware": {
        "device": _TEXT,
        "cpu": _TEXT,
        "gpu": _TEXT + _NONE,
        "cores": _WHOLE,
        "threads": _WHOLE,
        "ram_gb": _NUMBER,
        "os": _TEXT,
        "python": _TEXT,
    },
}
_SPEED: Shape = {"images_per_s": _NUMBER, "n_images": _WHOLE, "batch_size": _WHOLE}


def lacks(body: Mapping[str, Any]) -> str | None:
    """The first thing that a record should have and has not, in words; None for a whole one."""
    return next(_lacking(body, _shape_of(body)), None)


def _shape_of(body: Mapping[str, Any]) -> Shape:
    """What a record of its status, metrics and tags has."""
    shape = dict(_ALWAYS)
    if body.get("status") != "ok":
        return shape | {"error": {"phase": _TEXT, "message": _TEXT}}
    dataset, tags = body.get("dataset"), body.get("by_tag")
    names = dataset.get("metrics") if isinstance(dataset, dict) else None
    metrics = [str(name) for name in names] if isinstance(names, list) else []
    shape |= {"evidence": {"sha256": _TEXT}, "dataset": {**_ALWAYS["dataset"], "n_queries": _WHOLE}}
    shape |= {"metrics": dict.fromkeys(metrics, _NUMBER + _NONE), "n_used": dict.fromkeys(metrics, _WHOLE)}
    shape["metric_versions"] = dict.fromkeys(metrics, _WHOLE)
    score = {"value": _NUMBER + _NONE, "n_queries": _WHOLE}
    if isinstance(tags, dict):
        shape["by_tag"] = {tag: dict.fromkeys(of, score) for tag, of in tags.items() if isinstance(of, dict)}
    return shape | {"throughput": _SPEED if isinstance(body.get("throughput"), dict) else _NONE}


def _lacking(there: Any, shape: Shape, prefix: str = "") -> Iterator[str]:
    for name, wanted in shape.items():
        field = f"{prefix}{name}"
        if name not in there:
            yield f"it has no field {field}"
        elif isinstance(wanted, Mapping):
            if isinstance(there[name], dict):
                yield from _lacking(there[name], wanted, f"{field}.")
            else:
                yield f"its field {field} is {there[name]!r:.40}"
        elif not isinstance(there[name], wanted) or (isinstance(there[name], bool) and bool not in wanted):
            yield f"its field {field} is {there[name]!r:.40}"
