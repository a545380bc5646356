"""Thresholds of an audit: what they are written as, and rates against all pairs by brute force."""

import numpy as np
import pytest

from bench.audit.apart import BINS, Apart
from bench.audit.sides import Side
from bench.audit.thresholds import Threshold, parse_all
from bench.errors import UsageError
from bench.similarity import Similarity, pairwise


def test_lists_of_thresholds() -> None:
    assert parse_all("0.7") == (Threshold("score", 0.7),)
    assert [str(threshold) for threshold in parse_all("fpr:1e-4")] == ["0.5", "fpr:0.0001"]
    assert [str(threshold) for threshold in parse_all("fpr:0.01, 0.9,0.9")] == ["fpr:0.01", "0.9"]
    assert [str(threshold) for threshold in parse_all("precision:0.9,0.4")] == ["precision:0.9", "0.4"]
    for wrong in ("precision:1", "fpr:0", "fpr:1", "nan", "", "p:0.1", "fpr:", "0.5,,", "inf"):
        with pytest.raises(UsageError, match="there is no threshold '"):
            parse_all(wrong)


@pytest.mark.parametrize("spec", ["global", "chunked@4", "chunked@4[norm=chunk]", "global[norm=none]"])
@pytest.mark.parametrize("rate", [0.5, 0.01])
def test_no_larger_share_of_different_pairs_is_above(spec: str, rate: float) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(0.5, 1, (60, 16)).astype(np.float32)
    twins = np.arange(60)
    for copy, original in ((7, 3), (8, 3), (50, 20)):
        vectors[copy], twins[copy] = vectors[original], twins[original]
    rows = np.sort(rng.permutation(60)[:40])
    similarity = Similarity.parse(spec)
    side = Side(vectors, lambda rows: [], np.unique(twins, return_inverse=True)[1])
    found = Apart.of(side, rows, similarity).score(rate)
    scores = pairwise(vectors[rows], vectors, similarity)[twins[rows][:, None] != twins]
    step = 2 * (1 if similarity.norm != "none" else scores.max()) / BINS
    assert (scores > found).mean() <= rate
    # a step lower more pairs would be allowed
    assert (scores >= found - 2 * step).mean() > rate - 1.5 / len(scores)
