"""Similarities between descriptors and the exact search with them."""

from bench.similarity.search import TopK, top_k
from bench.similarity.spec import FORMS, Similarity

__all__ = ["FORMS", "Similarity", "TopK", "top_k"]
