"""The leaderboard for a paper: a tabular of booktabs, which goes into a document as it is."""

import unicodedata
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import pandas as pd

from bench.plan import Definition
from bench.records import Record
from bench.report.choose import as_text, better, dataset_of, is_score, metric_of, usual
from bench.report.text import NON_COMMERCIAL, notes
from bench.scored import Scored
from bench.similarity import Similarity

#: Beside a score: nothing; half the width of its 95 % interval; the interval.
Uncertainty = Literal["none", "pm", "interval"]

_NAMES = {
    "mean_map": "mean mAP",
    "images_per_s": "images/s",
    "params_m": "params (M)",
    "embed_dim": "dim.",
    "map": "mAP",
    "micro_ap": r"$\mu$AP",
    "mrr": "MRR",
    "recall@p90": "recall@P90",
}
_TEXT_COLUMNS = ("backbone", "similarity", "weights", "status", "device", "licence")
#: What stands for itself nowhere in a document, or begins something where a row begins.
_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "_&%#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "*": "{*}",
    "-": "-{}",
    NON_COMMERCIAL: r"\dag{}",
    "\u2013": "--",
    "\u2014": "---",
    "\u00b5": r"$\mu$",
    "\u03bc": r"$\mu$",
    "\u00d7": r"$\times$",
    "\u00b1": r"$\pm$",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
}
_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)
_DOTLESS = {"i": r"\i", "j": r"\j"}


def latex(
    table: pd.DataFrame, scored: Scored, columns: Sequence[str] | None = None, uncertainty: Uncertainty = "none"
) -> str:
    r"""The rows of a leaderboard that have scores, in percent with one decimal; those without a rank below a rule.

    In each column of scores the best is bold and the second underlined, by what is printed: equal ones share the mark,
    random weights have none. Compiles under pdflatex with booktabs, whatever the names.
    """
    columns = list(columns or usual(table))
    rows = table[table["n_datasets"] > 0]
    marks = {column: _marks(rows, column) for column in columns if better(column)}
    written: tuple[list[str], list[str]] = [], []
    for number, row in enumerate(rows.to_dict("records")):
        cells = [_cell(row, column, marks.get(column, {}).get(number, ""), scored, uncertainty) for column in columns]
        written[bool(pd.isna(row["rank"]))].append(" & ".join(cells) + r" \\")
    parts = [part for part in written if part]
    body = [line for number, part in enumerate(parts) for line in ([r"\midrule"] if number else []) + part]
    alignment = "".join("l" if column in _TEXT_COLUMNS else "r" for column in columns)
    lines = [
        *(f"% {' '.join(line.split())}" for line in _comments(rows, scored.records, uncertainty)),
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *_heading(columns),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """A name as pdflatex prints it; a letter that its fonts do not have is told by its code point."""
    return "".join(_letter(letter) for letter in unicodedata.normalize("NFC", text))


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter.isascii() and letter.isprintable():
        return letter
    base, accent = unicodedata.normalize("NFD", letter)[:1], unicodedata.normalize("NFD", letter)[1:]
    if accent in _ACCENTS and base.isascii():
        return f"\\{_ACCENTS[accent]}{{{_DOTLESS.get(base, base)}}}"
    return f"{{[}}U+{ord(letter):04X}]"


def _marks(rows: pd.DataFrame, column: str) -> dict[int, str]:
    """Row number -> command, of the best and the second best printed values."""
    real = enumerate(zip(rows[column], rows["weights"], strict=True))
    printed = {
        number: float(text) for number, (value, of) in real if of != "random" and (text := as_text(value, column))
    }
    places = sorted(set(printed.values()), reverse=better(column) == "high")
    commands = dict(zip(places, (r"\textbf", r"\underline"), strict=False))
    return {number: commands[value] for number, value in printed.items() if value in commands}


def _cell(row: Mapping[Hashable, Any], column: str, mark: str, scored: Scored, uncertainty: Uncertainty) -> str:
    text = escaped(as_text(row[column], column))
    if column == "backbone" and row["non_commercial"]:
        text += escaped(NON_COMMERCIAL)
    text = f"{mark}{{{text}}}" if mark else text
    between = _between(row, column, scored) if text and uncertainty != "none" else None
    if between is None:
        return text
    if uncertainty == "pm":
        return rf"{text} $\pm$ {as_text((between[1] - between[0]) / 2, column)}"
    return rf"{text} {{\small [{', '.join(as_text(end, column) for end in between)}]}}"


def _between(row: Mapping[Hashable, Any], column: str, scored: Scored) -> tuple[float, float] | None:
    """The 95 % interval of a row's score."""
    if column == "mean_map":
        low, high = row["mean_map_low"], row["mean_map_high"]
        return None if pd.isna(low) else (low, high)
    if not is_score(column):
        return None
    cell = Definition(row["backbone"], dataset_of(column), Similarity.parse(row["similarity"]))
    return scored.intervals.get((cell, metric_of(column)))


def _heading(columns: Sequence[str]) -> Iterator[str]:
    """Datasets over their metrics, and the names of the columns."""
    if any(map(is_score, columns)):
        spans, rules, at = [], [], 1
        for dataset, of_dataset in groupby(columns, lambda column: dataset_of(column) if is_score(column) else None):
            width = len(list(of_dataset))
            if dataset is None:
                spans += [""] * width
            else:
                spans.append(rf"\multicolumn{{{width}}}{{c}}{{{escaped(dataset)}}}")
                rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
            at += width
        yield " & ".join(spans) + r" \\"
        yield "".join(rules)
    names = [metric_of(column) if is_score(column) else column for column in columns]
    yield " & ".join(_NAMES.get(name) or escaped(name.replace("_", " ")) for name in names) + r" \\"


def _comments(rows: pd.DataFrame, records: Sequence[Record], uncertainty: Uncertainty) -> Iterator[str]:
    runs = ", ".join(sorted({record.body["run_id"][:12] for record in records}))
    commits = ", ".join(sorted({_commit(record.body["git"]) for record in records}))
    yield f"Run {runs} of descriptor-bench, commit {commits}. Needs \\usepackage{{booktabs}}."
    yield "Scores in percent; best bold, second underlined, by what is printed."
    if uncertainty != "none":
        what = {"pm": "half the width of the 95 % interval", "interval": "95 % interval"}[uncertainty]
        yield f"Beside a score: {what}, of bootstrap resamples of the queries."
    if rows["rank"].isna().any():
        yield "Below the last rule: rows without a rank, since a score is missing or weights are random."
    yield from notes(rows, records)


def _commit(git: Mapping[str, Any]) -> str:
    return (git["sha"] or "unknown")[:12] + (" with local changes" if git["dirty"] else "")
