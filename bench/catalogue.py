"""What there is to choose from, as rows for the command line and for scripts."""

from typing import Any

from bench import metrics as measured
from bench import plugins, weights
from bench.interfaces import TRAINING_FREE
from bench.similarity import FORMS


def backbones() -> list[dict[str, Any]]:
    """Every backbone with source, licence and dimension, and whether its weights are on this machine now."""
    return [
        {
            "name": entry.name,
            "groups": sorted(entry.groups),
            "arch": made.arch,
            "embed_dim": made.embed_dim,
            "source": made.weights.source,
            "licence": made.weights.licence,
            "pretraining": made.weights.pretraining,
            "weights_here": made.weights.source == TRAINING_FREE or weights.find(made.weights) is not None,
        }
        for entry in plugins.backbones.entries()
        if entry.argument is None
        for made in [entry.create(explicit=False).item]
    ]


def datasets() -> list[dict[str, Any]]:
    """Every dataset; those without code of their own are written `name:ARGUMENT`."""
    rows: list[dict[str, Any]] = []
    for entry in plugins.datasets.entries():
        if entry.argument is None:
            made = entry.create(explicit=False).item
            described = {"kind": made.kind, "description": made.description}
        else:
            described = {"kind": "", "description": (entry.make.__doc__ or "").partition("\n")[0]}
        name = f"{entry.name}:{entry.argument}" if entry.argument else entry.name
        rows.append({"name": name, "groups": sorted(entry.groups), **described})
    return rows


def similarities() -> list[dict[str, Any]]:
    """Every form of similarity."""
    return [{"name": form, "description": meaning} for form, meaning in FORMS.items()]


def metrics() -> list[dict[str, Any]]:
    """Every metric that a run computes."""
    return [
        {
            "name": metric.name,
            "kinds": list(metric.kinds),
            "averages_over": metric.unit,
            "description": metric.description,
        }
        for metric in measured.METRICS
    ]
