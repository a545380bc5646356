"""What there is to choose from, as rows for the command line and for scripts."""

from collections.abc import Callable
from typing import Any

from bench import metrics as measured
from bench import plugins
from bench import postprocess as steps
from bench import preprocess as modes
from bench.interfaces import TRAINING_FREE, Backbone, Dataset, Weights
from bench.published import Published
from bench.similarity import FORMS
from bench.weights import Found, Network, WeightsStore, address

#: Of a row, what fits a terminal; where nothing is said, all of it.
COLUMNS = {
    "backbones": ("name", "weights", "megabytes", "embed_dim", "licence", "non_commercial", "pretraining"),
    "datasets": ("name", "metric", "files", "description"),
    "metrics": ("name", "description"),
}


def backbones() -> list[dict[str, Any]]:
    """Every backbone and variant: its dimension, and where its weights come from, how large they are, are they here.

    Those made of an argument are rows `name:ARGUMENT` that say what it is.
    """
    store = WeightsStore(Network(offline=True))
    rows: list[dict[str, Any]] = []
    for entry in plugins.backbones.entries():
        for name in entry.names:
            made = entry.create(False, name.partition(":")[2] or None).item
            rows.append({"name": name, "groups": sorted(entry.groups), **_described(made, store.find(made.weights))})
        if entry.argument:
            free = dict.fromkeys(rows[0], None)
            rows.append(
                {**free, "name": f"{entry.name}:{entry.argument}", "groups": [], "pretraining": _summary(entry.make)}
            )
    return rows


def _described(made: Backbone, found: Found | None) -> dict[str, Any]:
    return {
        "embed_dim": made.embed_dim,
        "weights": _state(made.weights, found),
        "megabytes": round(found.path.stat().st_size / 1e6, 1) if found else made.weights.megabytes,
        "licence": made.weights.licence,
        "non_commercial": made.weights.non_commercial,
        "pretraining": made.weights.pretraining,
        "arch": made.arch,
        "source": made.weights.source,
        "citation": made.weights.citation,
    }


def _summary(factory: Callable[..., object]) -> str:
    return (factory.__doc__ or "").partition("\n")[0]


def _state(weights: Weights, found: Found | None) -> str:
    if weights.source == TRAINING_FREE:
        return "none needed"
    if found:
        return "here"
    if weights.gated:
        return "bring by hand (gated)"
    if any(address(source) for source in (weights.source, *weights.mirrors)):
        return "downloadable"
    return "not installed" if weights.source.startswith("package:") else "bring by hand"


def datasets() -> list[dict[str, Any]]:
    """Every dataset; those without code of their own are written `name:ARGUMENT`."""
    rows: list[dict[str, Any]] = []
    for entry in plugins.datasets.entries():
        if entry.plain:
            made = entry.create(explicit=False).item
            described = {"kind": made.kind, "metric": made.metrics[0], "files": _files(made)}
            rows.append(
                {"name": entry.name, "groups": sorted(entry.groups), **described, "description": made.description}
            )
        else:
            described = {"kind": "", "metric": "", "files": "", "description": _summary(entry.make)}
            rows.append({"name": f"{entry.name}:{entry.argument}", "groups": [], **described})
    return rows


def _files(made: Dataset) -> str:
    if not isinstance(made, Published):
        return "made here"
    if made.folder.is_dir():
        return "here"
    return "downloadable" if made.downloads else "bring by hand"


def generators() -> list[dict[str, Any]]:
    """Every kind of synthetic copies."""
    made = [entry.create(explicit=False).item for entry in plugins.generators.entries()]
    return [{"name": item.name, "description": item.description} for item in made]


def similarities() -> list[dict[str, Any]]:
    """Every form of similarity."""
    return [{"name": form, "description": meaning} for form, meaning in FORMS.items()]


def preprocess() -> list[dict[str, Any]]:
    """Every form of preprocessing."""
    return [{"name": form, "description": meaning} for form, meaning in modes.FORMS.items()]


def postprocess() -> list[dict[str, Any]]:
    """Every step of post-processing."""
    return [{"name": form, "description": meaning} for form, meaning in steps.FORMS.items()]


def metrics() -> list[dict[str, Any]]:
    """Every metric that a run computes."""
    return [
        {
            "name": metric.name,
            "averages_over": metric.unit,
            "description": metric.description,
        }
        for metric in measured.METRICS
    ]
