"""Clusters of near-copies against a plain walk through the pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.audit import duplicates
from bench.audit.duplicates import clusters
from bench.similarity import Similarity, pairwise


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.floats(0.2, 0.95), st.sampled_from(["global", "chunked@2"]))
def test_clusters_are_what_a_walk_reaches(seed: int, n: int, threshold: float, spec: str) -> None:
    vectors = np.random.default_rng(seed).integers(0, 3, (n, 6)).astype(np.float32) + 0.1
    similarity = Similarity.parse(spec)
    found = clusters(vectors, threshold, similarity)
    near = pairwise(vectors, vectors, similarity) > np.float32(threshold)
    np.fill_diagonal(near, False)
    assert found.neighbours.tolist() == near.sum(axis=1).tolist()
    near |= near.T
    for image in range(n):
        reached, todo = {image}, [image]
        while todo:
            for other in np.flatnonzero(near[todo.pop()]).tolist():
                if other not in reached:
                    reached.add(other)
                    todo.append(other)
        assert set(np.flatnonzero(found.cluster == found.cluster[image]).tolist()) == reached
    assert found.sizes.tolist() == np.bincount(found.cluster).tolist() == sorted(found.sizes, reverse=True)
    of_size = [np.flatnonzero(found.cluster == number)[0] for number in range(len(found.sizes))]
    for size in set(found.sizes.tolist()):
        firsts = [first for first, s in zip(of_size, found.sizes, strict=True) if s == size]
        assert firsts == sorted(firsts)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    whole = clusters(vectors, 0.9, Similarity())
    monkeypatch.setattr(duplicates, "AT_ONCE", 7)
    for a, b in zip(vars(whole).values(), vars(clusters(vectors, 0.9, Similarity())).values(), strict=True):
        assert a.tolist() == b.tolist()
    assert 1 < len(whole.sizes) < 60
