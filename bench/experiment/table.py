"""What an experiment comes to, as a table and as sentences."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.audit.statistics import Share, percentiles, share_above
from bench.audit.verdict import Above
from bench.experiment.replication import Dependence, Sampled

#: Shares that differ with a smaller p are told apart.
LEVEL = 0.05
FEWER, MORE = "fewer training images, more copies", "more training images, more copies"
UNKNOWN = "no difference can be told"


@dataclass(frozen=True)
class Conclusion:
    """Shares above a threshold of the models of fewest and of most training images; p: of Fisher's exact test."""

    backbone: str
    similarity: str
    threshold: str
    fewest: int
    most: int
    of_fewest: Share
    of_most: Share
    p: float
    sentence: str


def rows(found: Sequence[Dependence]) -> list[dict[str, Any]]:
    """One per backbone, similarity, number of training images and threshold; what there is not is None."""
    return [_row(of, model, above) for of in found for model in of.models for above in model.audited.verdict.above]


def as_csv(table: Sequence[dict[str, Any]]) -> str:
    """The rows, at least one, with every digit; None is an empty cell."""
    written = io.StringIO()
    writer = csv.DictWriter(written, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return written.getvalue()


def conclusions(found: Sequence[Dependence]) -> list[Conclusion]:
    """For each backbone, similarity and threshold; none of a single model."""
    return [
        Conclusion(
            of.backbone,
            str(of.similarity),
            few.threshold,
            of.models[0].n_training,
            of.models[-1].n_training,
            few.generated,
            many.generated,
            *compared(few.generated, many.generated),
        )
        for of in found
        if len(of.models) > 1
        for few, many in zip(*(of.models[end].audited.verdict.above for end in (0, -1)), strict=True)
    ]


def compared(few: Share, many: Share) -> tuple[float, str]:
    """Two-sided p of Fisher's exact test, and what the shares of few and of many training images then say."""
    from scipy.stats import fisher_exact

    p = float(fisher_exact([[few.k, few.n - few.k], [many.k, many.n - many.k]]).pvalue)
    if p >= LEVEL:
        return p, UNKNOWN
    return p, FEWER if few.value > many.value else MORE


def _row(of: Dependence, model: Sampled, above: Above) -> dict[str, Any]:
    best, share, seen = percentiles(model.audited.verdict.best), above.generated, model.is_seen
    return {
        "backbone": of.backbone,
        "similarity": str(of.similarity),
        "n_training": model.n_training,
        "n_images": of.n_images,
        "n_generated": share.n,
        "threshold": above.threshold,
        "score": above.score,
        "above": share.k,
        "share": share.value,
        "low": share.low,
        "high": share.high,
        "p50": best["p50"],
        "p95": best["p95"],
        "background_share": share_above(of.background, above.score).value,
        "nearest_is_seen": seen and seen.k,
        "nearest_is_seen_share": seen and seen.value,
        "nearest_is_seen_low": seen and seen.low,
        "nearest_is_seen_high": seen and seen.high,
        "chance": seen and model.n_training / of.n_images,
    }
