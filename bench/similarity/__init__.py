"""Similarities between descriptors and the exact search with them."""

from bench.similarity.search import TopK, similarities, top_k
from bench.similarity.spec import FORMS, Similarity

__all__ = ["FORMS", "Similarity", "TopK", "similarities", "top_k"]
