"""Which image gets which edits, and the suite as files: queries/, references/, pairs.csv."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import _csv, _pairs
from datasets.copyedits._edits import EDITS, Edit, edited
from datasets.copyedits._parts import Original
from datasets.demo._rng import Rng

SEED = "copyedits"
LEAST_IMAGES = 20
MOST_PER_EDIT = 40
HELD_OUT = 5  # each fifth image stays outside the database, for queries without a match and for backgrounds
LEAST_COLOUR = 4.0  # mean distance of the channels, in grey levels, of an image that is not grey
JPEG_QUALITY = 92  # of every image that is written, copies and originals alike
ONE_EDIT, TWO_EDITS = "one_edit", "two_edits"
COLUMNS = ("query", "reference", "tags", "edits", "source", "parameters")


@dataclass(frozen=True)
class Query:
    """An original to be edited. matched: it is in the database."""

    original: Original
    edits: tuple[Edit, ...]
    matched: bool

    @property
    def tags(self) -> tuple[str, ...]:
        """The name of an edit is the tag of those queries alone that have no other edit: its score is its own."""
        return (ONE_EDIT, self.edits[0].name) if len(self.edits) == 1 else (TWO_EDITS,)


@dataclass(frozen=True)
class Suite:
    """references: the database, with distractors. held_out: images outside it."""

    queries: tuple[Query, ...]
    references: tuple[Original, ...]
    held_out: tuple[Original, ...]


def plan(originals: Sequence[Original], distractors: Sequence[Original]) -> Suite:
    """The suite of at least LEAST_IMAGES originals, and further images for the database.

    A twentieth of them (40 at most) is edited by every edit alone, so that edits are compared on the same images.
    Others are edited twice, each edit as often first as second. Grey images are copied only where there are too few
    others: there some edits change nothing. A tenth as many queries, single and double, are made of images held out.
    """
    shuffled = Rng(f"{SEED}/originals").shuffled(originals)
    held_out, kept = shuffled[::HELD_OUT], [image for i, image in enumerate(shuffled) if i % HELD_OUT]
    per_edit = min(MOST_PER_EDIT, len(originals) // LEAST_IMAGES)
    single = [(edit,) for edit in EDITS]
    double = _double(max(1, per_edit * 2 // 5), Rng(f"{SEED}/pairs"))
    chosen = _coloured_first(kept, per_edit + len(double))
    unmatched = (single + double[: len(EDITS)]) * max(1, per_edit // 10)
    queries = [
        *(Query(original, edits, True) for edits in single for original in chosen[:per_edit]),
        *(Query(chosen[(per_edit + i) % len(chosen)], edits, True) for i, edits in enumerate(double)),
        *(Query(held_out[i % len(held_out)], edits, False) for i, edits in enumerate(unmatched)),
    ]
    return Suite(tuple(queries), (*sorted(kept, key=lambda image: image.name), *distractors), tuple(held_out))


def _coloured_first(images: Sequence[Original], wanted: int) -> Sequence[Original]:
    """The images in their order, but as many coloured ones as wanted before the others; no more are looked at."""
    coloured = list(islice((image for image in images if _is_coloured(image.open())), wanted))
    return coloured + [image for image in images if image not in coloured]


def _is_coloured(image: Image.Image) -> bool:
    """Whether grey would look different."""
    return float(np.ptp(np.asarray(image), axis=2).mean()) >= LEAST_COLOUR


def _double(rounds: int, rng: Rng) -> list[tuple[Edit, ...]]:
    """Pairs of different edits, none twice: in each round every edit once as the first and once as the second."""
    shifts = rng.shuffled(range(1, len(EDITS)))[:rounds]
    return [(edit, EDITS[(i + shift) % len(EDITS)]) for shift in shifts for i, edit in enumerate(EDITS)]


def write(folder: Path, suite: Suite) -> None:
    """The suite's images and its pairs.csv, a row per query with the parameters of its edits as JSON.

    The bytes are the same however many threads write them.
    """
    for name in ("queries", "references"):
        (folder / name).mkdir()
    references = {image.name: f"references/r{number:05d}.jpg" for number, image in enumerate(suite.references)}
    asked: dict[str, list[int]] = {}
    for number, query in enumerate(suite.queries):
        asked.setdefault(query.original.name, []).append(number)

    def write_original(original: Original) -> list[dict[str, str]]:
        """Write the reference, if it is one, and the queries made of it; their rows. It is opened once for all."""
        image, reference = original.open(), references.get(original.name, "")
        if reference:
            _save(image, folder / reference)
        return [_write_query(folder, suite, number, image, reference) for number in asked.get(original.name, [])]

    with ThreadPoolExecutor() as pool:
        made = pool.map(write_original, (*suite.references, *suite.held_out))
        rows = sorted((row for rows in made for row in rows), key=lambda row: row["query"])
    _csv.write(folder / _pairs.PAIRS, rows, COLUMNS)


def _write_query(folder: Path, suite: Suite, number: int, image: Image.Image, reference: str) -> dict[str, str]:
    """Write a query made of an image; its row of pairs.csv."""
    query, path = suite.queries[number], f"queries/q{number:04d}.jpg"
    edits, source = "+".join(edit.name for edit in query.edits), query.original.name
    others = [original for original in suite.held_out if original is not query.original]
    copy, parameters = edited(image, query.edits, Rng(f"{SEED}/{edits}/{source}"), others)
    _save(copy, folder / path)
    return {
        "query": path,
        "reference": reference,
        "tags": ";".join(query.tags),
        "edits": edits,
        "source": source,
        "parameters": json.dumps(parameters),
    }


def _save(image: Image.Image, path: Path) -> None:
    image.save(path, quality=JPEG_QUALITY)
