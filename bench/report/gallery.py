"""The hardest queries of each dataset with what a backbone found for them, as small pictures inside the page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.unreadable import without
from bench.errors import BenchError, DatasetError
from bench.evidence import Evidence
from bench.interfaces import Dataset, ImageFile, Split
from bench.manifest import manifest
from bench.metrics import Ranks
from bench.plan import Definition
from bench.plugins import datasets
from bench.ranking import Ranking
from bench.records import Record
from bench.report.thumbnails import thumbnail
from bench.sample import limited
from bench.scored import Scored

N_QUERIES = 12
N_MATCHES = 5


@dataclass(frozen=True)
class Picture:
    """An image by its id. uri: data:image/jpeg."""

    id: str
    uri: str


@dataclass(frozen=True)
class Match:
    """What was found. right: whether it answers the query."""

    picture: Picture
    score: float
    right: bool


@dataclass(frozen=True)
class HardQuery:
    """ap: mean over the ranked backbones. matches: the best of the gallery's backbone, by falling similarity.

    first_right: rank from 1 of its first right match, None where it found none. sought: a right answer, where none is
    among the matches.
    """

    picture: Picture
    ap: float
    matches: tuple[Match, ...]
    first_right: int | None
    sought: Picture | None

    @property
    def pictures(self) -> list[Picture]:
        """All that the page embeds for it."""
        return [self.picture, *(match.picture for match in self.matches), *([self.sought] if self.sought else [])]


@dataclass(frozen=True)
class Gallery:
    """A dataset's hardest queries, the hardest first. n_backbones: over so many their average precision is a mean.

    why_none: a sentence where there are no pictures to show.
    """

    dataset: str
    backbone: str = ""
    similarity: str = ""
    n_backbones: int = 0
    queries: tuple[HardQuery, ...] = ()
    why_none: str = ""


def galleries(scored: Scored, ranking: Ranking, config: Mapping[str, Any]) -> list[Gallery]:
    """One for each dataset of a ranking, with the matches of the backbone that is first in it.

    config: the run's, as in run.json. A dataset that is not here, or no longer the one that was measured, has a
    sentence instead of pictures.
    """
    measured = {(r.cell.backbone, r.cell.dataset, str(r.cell.similarity)): r for r in scored.records}
    found = []
    for name in ranking.datasets:
        keys = [(standing.backbone, name, standing.similarity) for standing in ranking.standings]
        records = [measured[key] for key in keys if key in measured]
        evidence = [scored.evidence[r.cell] for r in records if r.cell in scored.evidence]
        if not evidence or records[0].cell not in scored.evidence:
            found.append(Gallery(name, why_none="No ranked backbone has kept what it found for each query."))
            continue
        try:
            split = _measured(records[0], config)
            found.append(_gallery(records[0].cell, evidence, split))
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises, the page has the rest
            sentence = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            found.append(Gallery(name, why_none=sentence))
    return found


def hardest(aps: Sequence[NDArray[np.float64]], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The n queries with the lowest mean of several backbones' average precisions [Q], and these means [n].

    Queries without a positive, which have none (nan), are left out, and so are those that all of them answer perfectly;
    of equal ones the first comes first.
    """
    means = np.mean(np.stack(aps), axis=0)
    order = np.argsort(means, kind="stable")[: min(n, int((means < 1).sum()))]
    return order, means[order]


def bounded(found: Iterable[Gallery], room: int) -> tuple[list[Gallery], int]:
    """The same number of queries for every dataset, the hardest, as many as fit into `room` bytes; and that number."""
    found = list(found)
    kept = max((len(gallery.queries) for gallery in found), default=0)
    while kept and n_bytes(_cut(found, kept)) > room:
        kept -= 1
    return _cut(found, kept), kept


def n_bytes(found: Iterable[Gallery]) -> int:
    """Of all embedded pictures."""
    return sum(len(picture.uri) for gallery in found for query in gallery.queries for picture in query.pictures)


def _cut(found: Iterable[Gallery], n: int) -> list[Gallery]:
    return [replace(gallery, queries=gallery.queries[:n]) for gallery in found]


def _measured(record: Record, config: Mapping[str, Any]) -> Split:
    """The split that a record was measured on. Raises BenchError where it is not here any more."""
    name = record.cell.dataset
    split = _dataset(name, config["datasets"]).load()
    if config["limit"] is not None:
        split = limited(split, config["limit"], config["seed"])
    split = without(split, record.body["dataset"].get("unreadable", ()))
    if manifest(split).sha256 != record.body["dataset"]["manifest_sha256"]:
        raise DatasetError(
            f"the images of {name} are not the ones that were measured: run again to see what was found among them"
        )
    return split


def _dataset(name: str, identities: Iterable[str]) -> Dataset:
    """The run's dataset of that name; raises DatasetError where no identity is its."""
    chosen = [selected.item for identity in identities for selected in datasets.select(identity)]
    for item in chosen:
        if item.name == name:
            return item
    raise DatasetError(f"no dataset of the run is called {name}: run again to see its images")


def _gallery(cell: Definition, evidence: Sequence[Evidence], split: Split) -> Gallery:
    """evidence: of the ranked backbones, the one whose matches are shown first."""
    shown = evidence[0]
    same = [one.ap for one in evidence if one.query_ids == shown.query_ids]
    queries, aps = hardest(same, N_QUERIES)
    if not len(queries):
        return Gallery(cell.dataset, why_none="Every query is answered perfectly by every ranked backbone.")
    ranks = next(iter(shown.judged.values())).ranks
    hard = tuple(_hard(shown, ranks, split, int(query), float(ap)) for query, ap in zip(queries, aps, strict=True))
    return Gallery(cell.dataset, cell.backbone, str(cell.similarity), len(same), hard)


def _hard(evidence: Evidence, ranks: Ranks, split: Split, query: int, ap: float) -> HardQuery:
    positives = split.ground_truth.positives[query]
    found = [(int(row), float(s)) for row, s in zip(evidence.top[query], evidence.top_scores[query], strict=True)]
    matches = tuple(
        Match(_picture(split.database[row]), score, row in positives) for row, score in found[:N_MATCHES] if row >= 0
    )
    of_query = ranks.values[ranks.query == query]
    missed = not any(match.right for match in matches)
    return HardQuery(
        _picture(split.queries[query]),
        ap,
        matches,
        int(of_query[0]) + 1 if len(of_query) else None,
        _picture(split.database[positives[0]]) if missed else None,
    )


def _picture(image: ImageFile) -> Picture:
    """Raises ImageError where the file can't be read."""
    return Picture(image.id, thumbnail(image).uri)
