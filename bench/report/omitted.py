"""What of the datasets of a run is not used: images that can't be read or described, files that are no images."""

from collections.abc import Iterable, Mapping

from bench.data.unreadable import COLUMNS, LeftOut, sentences
from bench.files import csv_text
from bench.records import Record

#: The side of images that post-processing is fitted on.
BACKGROUND = "background"


def omitted(records: Iterable[Record]) -> dict[str, LeftOut]:
    """Collect what records say is left out, by dataset; an image that several backbones miss counts once."""
    found: dict[str, LeftOut] = {}
    for record in records:
        body = record.body["dataset"]
        parts = {
            record.cell.dataset: LeftOut(body.get("unreadable", {}), {}, body.get("skipped", {})),
            BACKGROUND: LeftOut(body.get("background_unreadable", {})),
        }
        for side, part in parts.items():
            found[side] = LeftOut.joined([found.get(side, LeftOut()), part])
    return found


def table(sides: Mapping[str, LeftOut]) -> str | None:
    """The rows of unreadable.csv: side, id, reason; None where there are none."""
    rows = [(side, name, why) for side, of in sides.items() for name, why in of.unreadable.items()]
    return csv_text([COLUMNS, *rows]) if rows else None


def notes(records: Iterable[Record]) -> list[str]:
    """The sentences of tables and pages."""
    return [sentence for side, of in omitted(records).items() for sentence in sentences(side, of)]


def skipping(records: Iterable[Record]) -> list[str]:
    """The note on datasets of which --skip-unreadable has left out queries or positives."""
    n = {r.cell.dataset: r.body["dataset"].get("n_needed_unreadable", 0) for r in records if r.status == "ok"}
    return [
        f"{name}: scores are of a part of the dataset, without {lost:,} queries or positives that can't be read or "
        "described (--skip-unreadable)."
        for name, lost in n.items()
        if lost
    ]
