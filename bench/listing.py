"""What lies in a folder, hidden files and folders left out."""

from collections.abc import Collection, Iterator
from pathlib import Path

from bench.errors import DatasetError


def entries(folder: Path) -> list[Path]:
    """Files and folders directly in a folder, by name; not those that begin with a dot, nor __MACOSX.

    Raises DatasetError where the folder can't be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX")
    except OSError as error:
        raise DatasetError(
            f"the folder {folder} can't be read ({error.strerror}): correct it or leave it out"
        ) from error


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files directly in a folder with one of the lower-case suffixes, in upper case too, by name.

    A link that leads nowhere counts as a file, so that whoever reads it is told. Raises DatasetError as `entries`.
    """
    return [path for path in entries(folder) if path.suffix.lower() in suffixes and not path.is_dir()]


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """As `files_in`, however deep, links to folders followed; none where there is no such folder."""
    return list(_walk(folder, suffixes, ())) if folder.is_dir() else []


def _walk(folder: Path, suffixes: Collection[str], above: tuple[Path, ...]) -> Iterator[Path]:
    here = folder.resolve()
    if any(path.is_relative_to(here) for path in above):  # a link back up would never end
        return
    for path in entries(folder):
        if path.is_dir():
            yield from _walk(path, suffixes, (*above, here))
        elif path.suffix.lower() in suffixes:
            yield path
