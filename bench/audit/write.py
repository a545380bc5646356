"""The files of an audit."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import provenance
from bench.audit.duplicates import Clusters
from bench.audit.sides import Side
from bench.audit.verdict import Audited
from bench.data.unreadable import NOTHING, write_left_out
from bench.files import write_atomic, write_bytes, write_json, write_text
from bench.names import encoded
from bench.search import write_tables

if TYPE_CHECKING:
    import pyarrow as pa

    from bench.audit.run import Outcome, Wanted
    from bench.report.figures.drawn import Drawn

MATCHES, SUMMARY, DUPLICATES = "matches", "summary.json", "duplicates.csv"
PAGE = "report.html"
#: Of the region that gave the score, as fractions of the image.
EDGES = ("left", "top", "right", "bottom")
#: Generated images whose matches are made into a table at once.
AT_ONCE = 4096


def everything(
    folder: Path, outcome: "Outcome", wanted: "Wanted", argv: Sequence[str], device: str, workers: int
) -> list[Path]:
    """All files of an audit of which something came; their paths. Raises OSError.

    The summary comes last: an audit that has it is whole.

    argv, device: what it ran as and on. workers: threads that read the images that are shown.
    """
    # matplotlib takes a second to import
    from bench.audit.figure import histograms

    summary = {
        "generated": wanted.generated,
        "training": wanted.training,
        "is_self": outcome.is_self,
        **wanted.settings.told,
        **{name: {side: of.counts[name] for side, of in outcome.left_out.items()} for name in NOTHING.counts},
        "failed": outcome.failed,
        "unavailable": outcome.unavailable,
        "argv": list(argv),
        "hardware": provenance.hardware(device),
        **made_with(),
        "verdicts": [one.verdict.summary for one in outcome.audited],
    }
    for left in (folder / SUMMARY, *folder.glob(".*.tmp")):  # by another audit, by a killed one
        left.unlink(missing_ok=True)
    drawn = histograms([one.verdict for one in outcome.audited])
    paths = [*write_matches(folder, outcome.audited), *write_figure(folder, drawn)]
    paths += write_left_out(folder, outcome.left_out)
    paths += [write_page(folder, outcome, summary, drawn, workers), folder / SUMMARY]
    write_json(folder / SUMMARY, summary)
    return paths


def write_matches(folder: Path, audited: Sequence[Audited]) -> list[Path]:
    """matches.parquet and matches.csv: one row per backbone, similarity, generated image and match."""
    paths = [folder / f"{MATCHES}{suffix}" for suffix in (".parquet", ".csv")]
    for path in paths:
        write_atomic(path, partial(_write, suffix=path.suffix, audited=audited))
    return paths


def _write(stream: IO[bytes], suffix: str, audited: Sequence[Audited]) -> None:
    write_tables(stream, suffix, (table for one in audited for table in _tables(one)))


def _tables(of: Audited) -> Iterator["pa.Table"]:
    import pyarrow as pa

    found, k = of.verdict.matches, of.verdict.settings.top_k
    in_chunks = of.verdict.similarity.tokens or of.verdict.similarity.chunks is not None
    for first in range(0, len(found.indices), AT_ONCE):
        indices = found.indices[first : first + AT_ONCE].ravel()
        scores = found.scores[first : first + AT_ONCE].ravel()
        chunks = of.verdict.chunks[first : first + AT_ONCE].reshape(-1, 2)
        there = indices >= 0
        rows = np.arange(first, first + len(indices) // k).repeat(k)
        ranks = np.tile(np.arange(1, k + 1, dtype=np.int32), len(indices) // k)
        n = int(there.sum())
        yield pa.table(
            {
                "backbone": pa.array([of.verdict.backbone] * n, pa.string()),
                "similarity": pa.array([str(of.verdict.similarity)] * n, pa.string()),
                "generated": pa.array(of.generated.numbered(rows[there]), pa.int64()),
                "generated_id": pa.array(of.generated.names(rows[there]), pa.string()),
                "rank": pa.array(ranks[there]),
                "training": pa.array(of.training.numbered(indices[there])),
                "training_id": pa.array(of.training.names(indices[there]), pa.string()),
                "score": pa.array(scores[there]),
                "generated_chunk": pa.array(chunks[there, 0]) if in_chunks else pa.nulls(n, pa.int32()),
                "training_chunk": pa.array(chunks[there, 1]) if in_chunks else pa.nulls(n, pa.int32()),
                **_places("generated", of.generated, rows[there], chunks[there, 0]),
                **_places("training", of.training, indices[there], chunks[there, 1]),
            }
        )


def _places(name: str, side: Side, rows: NDArray[np.int64], cells: NDArray[np.int32]) -> dict[str, "pa.Array"]:
    import pyarrow as pa

    found = side.places(rows, cells) if side.places else None
    return {
        f"{name}_{edge}": pa.nulls(len(rows), pa.float32()) if found is None else pa.array(found[:, at])
        for at, edge in enumerate(EDGES)
    }


def write_figure(folder: Path, drawn: "Drawn") -> list[Path]:
    """histogram.pdf, .svg, .png and, as text, its caption."""
    from bench.report.figures.drawn import FORMATS
    from bench.report.figures.write import CAPTION

    files = {folder / f"{drawn.name}.{kind}": drawn.encoded(kind) for kind in FORMATS}
    files[folder / f"{drawn.name}.{CAPTION}"] = encoded(f"{drawn.caption}\n")
    for path, content in files.items():
        write_bytes(path, content)
    return list(files)


def write_page(folder: Path, outcome: "Outcome", summary: Mapping[str, Any], drawn: "Drawn", workers: int) -> Path:
    """report.html."""
    from bench.audit.page import page
    from bench.report.html import Figure

    figure = Figure(drawn.title, drawn.caption, drawn.encoded("svg").decode())
    path = folder / PAGE
    write_text(path, page(outcome.audited, summary, outcome.left_out, figure, workers))
    return path


def write_duplicates(folder: Path, side: Side, found: Clusters, about: Mapping[str, Any]) -> list[Path]:
    """duplicates.csv, a row for each image that has near-copies, cluster by cluster; and summary.json."""
    rows = np.flatnonzero(found.sizes[found.cluster] > 1)
    rows = rows[np.argsort(found.cluster[rows], kind="stable")]
    table = pd.DataFrame(
        {
            "cluster": found.cluster[rows],
            "size": found.sizes[found.cluster[rows]],
            "neighbours": found.neighbours[rows],
            "row": side.numbered(rows),
            "id": side.names(rows),
        }
    )
    paths = [folder / DUPLICATES, folder / SUMMARY]
    write_text(paths[0], table.to_csv(index=False, lineterminator="\n"))
    write_json(paths[1], {**about, **found.summary(), **made_with()})
    return paths


def made_with() -> dict[str, Any]:
    """Packages, commit and time, of the JSON files."""
    return {
        "packages": provenance.versions(provenance.PACKAGES),
        "git": provenance.git(),
        "finished": provenance.now(),
    }
