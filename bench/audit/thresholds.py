"""From which similarity on an image counts as a copy: a number, or what a rate of errors that is chosen comes to.

0.5 means another thing for every backbone and number of chunks: a whole descriptor is 1 to itself, a chunk of sixteen
of it some 1/16.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.errors import UsageError

Kind = Literal["score", "fpr", "precision"]

#: What a threshold can be written as.
FORMS = {
    "NUMBER": "this similarity",
    "fpr:RATE": "the least that at most this share of the pairs of different images exceed, such as fpr:1e-4",
    "precision:SHARE": "above it most known copies lie while this share of the pairs are copies; see `calibrate`",
}
_RATES: tuple[Kind, ...] = ("fpr", "precision")
#: Of the paper; always told beside a calibrated one.
PAPER = 0.5


@dataclass(frozen=True)
class Threshold:
    """value: the similarity, the rate or the share."""

    kind: Kind
    value: float

    @classmethod
    def parse(cls, text: str) -> "Threshold":
        """Raises UsageError with the known forms."""
        kind, _, number = text.strip().rpartition(":")
        try:
            value = float(number)
        except ValueError:
            value = np.nan
        for rate in _RATES:
            if kind == rate and 0 < value < 1:
                return cls(rate, value)
        if kind == "" and np.isfinite(value):
            return cls("score", value)
        raise UsageError(f"there is no threshold '{text}': write {', '.join(FORMS)}, with a share between 0 and 1")

    def __str__(self) -> str:
        return f"{self.value:g}" if self.kind == "score" else f"{self.kind}:{self.value:g}"


def parse_all(text: str) -> tuple[Threshold, ...]:
    """The thresholds of a comma-separated list, each once; PAPER where the list has no number."""
    found = [Threshold.parse(part) for part in text.split(",")]
    if all(threshold.kind != "score" for threshold in found):
        found.insert(0, Threshold("score", PAPER))
    return tuple(dict.fromkeys(found))
