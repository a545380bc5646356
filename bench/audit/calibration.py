"""Thresholds that were calibrated before: the table, and what it says for a backbone and similarity."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench.audit.apart import Apart
from bench.audit.thresholds import Threshold
from bench.errors import UsageError, told
from bench.files import write_text
from bench.similarity import Similarity


@dataclass(frozen=True)
class Calibrated:
    """A row of the table: what a threshold comes to, and what can be expected above it.

    made_by: how the descriptors were made, as `Side` has it. score: None where the precision is never reached. fpr:
    share of n_background_pairs pairs of different images. precision, recall: of n_copies pairs of known copies; None
    where there were none, or nothing is above the threshold.
    """

    backbone: str
    similarity: str
    threshold: str
    score: float | None
    fpr: float | None
    n_background_pairs: int
    precision: float | None
    recall: float | None
    n_copies: int | None
    made_by: str


#: A backbone, how its descriptors were made, and a similarity.
Of = tuple[str, str, Similarity]

_COLUMNS = tuple(field.name for field in fields(Calibrated))
_READ: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("score", "fpr", "precision", "recall"), float),
    **dict.fromkeys(("n_background_pairs", "n_copies"), int),
}


@dataclass(frozen=True)
class Applied:
    """A threshold as an audit used it. threshold: as it was asked for. score: the similarity that it came to.

    calibrated: what to expect above it, where a table says so.
    """

    threshold: str
    score: float
    calibrated: Calibrated | None = None


@dataclass(frozen=True)
class Calibration:
    """A table that `calibrate` wrote."""

    path: Path
    rows: tuple[Calibrated, ...]

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Raises UsageError where the file can't be read, or is no such table."""
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                table = csv.DictReader(stream, strict=True)
                if set(table.fieldnames or ()) != set(_COLUMNS):
                    raise ValueError(f"its columns are not {', '.join(_COLUMNS)}")
                rows = tuple(_row(row, table.line_num) for row in table)
        except (OSError, ValueError, csv.Error) as error:
            why = told(error) if isinstance(error, OSError) else str(error)
            raise UsageError(f"{path} is not a table of thresholds ({why}): make it by `calibrate`") from error
        known = [(row.backbone, row.similarity, row.threshold) for row in rows]
        if repeated := next((key for key in known if known.count(key) > 1), None):
            raise UsageError(f"{path} has two rows of {', '.join(repeated)}: remove one")
        return cls(path, rows)

    def find(self, backbone: str, made_by: str, similarity: Similarity, threshold: Threshold) -> Calibrated | None:
        """What the table says. Raises UsageError where it is of descriptors that were made in another way."""
        for row in self.rows:
            if (row.backbone, row.similarity, row.threshold) == (backbone, str(similarity), str(threshold)):
                if row.made_by != made_by:
                    raise UsageError(
                        f"{self.path} is of {backbone} with other weights or another preprocessing: calibrate it again"
                    )
                return row
        return None

    def applied(self, threshold: Threshold, of: Of) -> Applied:
        """What a threshold comes to. Raises UsageError where the table does not say, and as `find`."""
        backbone, _, similarity = of
        known = self.find(*of, threshold)
        if threshold.kind == "score":
            return Applied(str(threshold), threshold.value, known)
        if known is None:
            raise UsageError(f"{self.path} does not hold {threshold} of {backbone}, {similarity}: `calibrate` it too")
        if known.score is None:
            raise UsageError(
                f"{self.path} says that {backbone}, {similarity} never reached {threshold}: choose a lower one"
            )
        return Applied(str(threshold), known.score, known)

    def write(self) -> None:
        """Raises OSError."""
        written = io.StringIO()
        table = csv.DictWriter(written, _COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in self.rows)
        write_text(self.path, written.getvalue())


def applied(
    thresholds: Sequence[Threshold], of: Of, calibration: Calibration | None, apart: Callable[[], Apart]
) -> tuple[Applied, ...]:
    """What the thresholds come to.

    By the table, where there is one; without it, a rate is that of pairs of the training set, which `apart` looks at.
    Raises UsageError for what the table does not hold, and as `require_known`.
    """
    if calibration:
        return tuple(calibration.applied(threshold, of) for threshold in thresholds)
    require_known(thresholds, None)
    pairs = apart() if any(threshold.kind == "fpr" for threshold in thresholds) else None
    return tuple(
        Applied(str(one), pairs.score(one.value) if pairs and one.kind == "fpr" else one.value) for one in thresholds
    )


def require_known(thresholds: Sequence[Threshold], calibration: Calibration | None) -> None:
    """Raises UsageError for a precision without a table."""
    if calibration is None and (at := next((t for t in thresholds if t.kind == "precision"), None)):
        raise UsageError(f"{at} can't be told from a training set: `calibrate` it, and give --calibration")


def _row(row: Mapping[str, str | None], line: int) -> Calibrated:
    if None in row or None in row.values():
        raise ValueError(f"line {line} has not {len(_COLUMNS)} cells")
    found = {name: _value(name, row[name] or "", line) for name in _COLUMNS}
    found["threshold"] = str(Threshold.parse(found["threshold"]))
    if found["n_background_pairs"] is None or (found["fpr"] is None) != (found["score"] is None):
        raise ValueError(f"line {line} lacks a number")
    return Calibrated(**found)


def _value(name: str, text: str, line: int) -> Any:
    if name not in _READ:
        return text
    try:
        value = _READ[name](text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not (math.isfinite(value) and (name == "score" or value >= 0)):
        raise ValueError(f"the {name} of line {line} is '{text}'")
    return value
