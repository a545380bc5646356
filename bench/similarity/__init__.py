"""Similarities between descriptors and the exact search with them."""

from bench.similarity.pairs import meeting_chunks, rescore
from bench.similarity.search import (
    Histogram,
    Index,
    TopK,
    Within,
    histogram,
    index,
    merge,
    pairwise,
    range_search,
    top_k,
)
from bench.similarity.spec import FORMS, Similarity

__all__ = [
    "FORMS",
    "Histogram",
    "Index",
    "Similarity",
    "TopK",
    "Within",
    "histogram",
    "index",
    "meeting_chunks",
    "merge",
    "pairwise",
    "range_search",
    "rescore",
    "top_k",
]
