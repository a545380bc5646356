"""Which image of a source becomes an original, a distractor, a background, or a query without a match."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import DatasetError
from bench.interfaces import ImageFile, Recipe
from datasets.demo._rng import Rng

LEAST_DISTRACTORS = 4  # a quarter of the database, where their number is left open


@dataclass(frozen=True)
class Reference:
    """A database image. name: of its file, without suffix."""

    name: str
    image: ImageFile


@dataclass(frozen=True)
class Query:
    """A query to be made. other: the background, or what the blending painter takes. reference: None: no match."""

    name: str
    original: ImageFile
    other: ImageFile
    reference: Reference | None


@dataclass(frozen=True)
class Plan:
    """A set of copies. Of the references the first are copied by queries."""

    references: tuple[Reference, ...]
    queries: tuple[Query, ...]


def planned(
    copyable: Sequence[ImageFile], others: Sequence[ImageFile], backgrounds: Sequence[ImageFile] | None, recipe: Recipe
) -> Plan:
    """The plan for images that can be copied and others that can only be distractors, by the recipe's seed alone.

    A share of the first, that of the queries without a match, is kept out of the database: these queries are made of
    them, and so are the backgrounds where none are given. Raises DatasetError where there are too few images.
    """
    rng = Rng(f"{recipe.seed}/plan")
    order = rng.shuffled(copyable)
    n_outside = max(1 if backgrounds else 2, round(recipe.unmatched * len(order)))
    outside, inside = order[:n_outside], order[n_outside:]
    n_unmatched, n_matched = _numbers(recipe)
    n_inside = len(inside) + len(others)
    least = max(1, n_inside // LEAST_DISTRACTORS) if recipe.distractors is None else recipe.distractors
    n_originals = min(len(inside), n_inside - least, len(inside) if n_matched is None else n_matched)
    if n_originals < 1:
        raise DatasetError(
            f"there are {len(copyable)} images to copy and {len(others)} others, too few for {least} distractors and "
            f"{n_outside} images outside the database: give more images, or ask for fewer distractors"
        )
    if n_matched is None:
        n_matched = n_originals
        n_unmatched = max(1, round(n_matched * recipe.unmatched / (1 - recipe.unmatched)))
    distractors = rng.shuffled([*inside[n_originals:], *others])[: recipe.distractors]
    references = tuple(
        Reference(f"{n:05d}_{_slug(i.id)}", i) for n, i in enumerate([*inside[:n_originals], *distractors])
    )
    pool = outside if backgrounds is None else backgrounds
    sources = [(references[n % n_originals].image, references[n % n_originals]) for n in range(n_matched)]
    sources_without = [(outside[n % n_outside], None) for n in range(n_unmatched)]
    queries = tuple(
        Query(f"q{n:05d}", image, rng.choice([other for other in pool if other is not image]), reference)
        for n, (image, reference) in enumerate([*sources, *sources_without])
    )
    return Plan(references, queries)


def _numbers(recipe: Recipe) -> tuple[int, int | None]:
    """Queries without and with a match; None where each original gets one."""
    if recipe.queries is None:
        return 0, None
    n_unmatched = max(1, round(recipe.unmatched * recipe.queries))
    return n_unmatched, max(1, recipe.queries - n_unmatched)


def _slug(name: str) -> str:
    """An id as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name.rsplit(".", 1)[0])[-80:]
