"""Tables of ground truth as CSV files in UTF-8 with a header."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.errors import DatasetError


def read(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Each row by column, a missing cell as "", with the number of its line.

    Raises DatasetError where the file is missing, empty or not CSV in UTF-8, lacks one of `columns`, has two of a name,
    or a row is longer than the header.
    """
    if not path.is_file():
        raise DatasetError(f"there is no ground truth {path}: write it with the columns {', '.join(columns)}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream, restval="")
            if rows.fieldnames is None:
                raise DatasetError(f"{path} is empty: write it with the columns {', '.join(columns)}")
            if missing := set(columns) - set(rows.fieldnames):
                raise DatasetError(
                    f"{path} lacks the column {' and '.join(sorted(missing))}: its first line names them"
                )
            for name in filter(None, rows.fieldnames):  # spreadsheets leave columns without a name behind
                if rows.fieldnames.count(name) > 1:
                    raise DatasetError(f"{path} has two columns called {name}: rename or remove one")
            return [(rows.line_num, _whole(row, path, rows.line_num)) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a CSV file in UTF-8 ({error}): save it as one") from error


def write(path: Path, rows: Iterable[Mapping[str, str]], columns: tuple[str, ...]) -> None:
    """Write rows as CSV with `columns` in that order."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _whole(row: dict[str | None, str], path: Path, line: int) -> dict[str, str]:
    cells = {name: cell for name, cell in row.items() if name is not None}
    if len(cells) < len(row):  # DictReader keeps what is too much under None
        raise DatasetError(f"{path}, line {line}: there are more cells than columns: put quotes around a comma")
    return cells
