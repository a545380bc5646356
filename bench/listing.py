"""What lies in a folder, hidden files and folders left out: images by their content, and what else."""

import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.sniffing import begins_as_image
from bench.errors import DatasetError
from bench.images.formats import SUFFIXES, is_image
from bench.interfaces import ImageFile
from bench.names import escaped, unescaped

#: Suffixes that a sentence names: numbered files may have very many.
SHOWN = 10


@dataclass(frozen=True)
class Listing:
    """The images of a folder or another source, and what else it holds.

    unreadable: id -> reason, one sentence, of what is known not to be readable before it is decoded.
    skipped: how many other files there are, by lower-case suffix, "" for those without one.
    """

    images: Sequence[ImageFile]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


def counted(skipped: Mapping[str, int]) -> str:
    """Write what was skipped, such as `3 .txt, 1 with no suffix`: the most frequent first, and the rest together."""
    order = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{n:,} {suffix or 'with no suffix'}" for suffix, n in order[:SHOWN]]
    if rest := order[SHOWN:]:
        shown.append(f"{sum(n for _, n in rest):,} with {len(rest):,} other suffixes")
    return ", ".join(shown)


def together(*skipped: Mapping[str, int]) -> dict[str, int]:
    """Add what was skipped in several places."""
    total: Counter[str] = Counter()
    for one in skipped:
        total.update(one)
    return dict(sorted(total.items()))


def listed_in(folder: Path) -> Listing:
    """List what lies directly in a folder; an image's id is its name.

    Raises:
        DatasetError: the folder can't be read.
    """
    files = ((path, mode) for path in entries(folder) if not stat.S_ISDIR(mode := _mode(path)))
    return _listing(folder, files, {}, ())


def listed_below(folder: Path, apart: Collection[str] = ()) -> Listing:
    """List what lies below a folder, links to folders followed; an image's id is its path relative to the folder.

    A regular file is an image where it has a usual suffix of one, or its content is one. What is no regular file is
    never opened; with such a suffix it is listed among the images, and so is a link that leads nowhere. A sub-folder
    that can't be read is unreadable.

    Args:
        folder: nothing is listed where there is none.
        apart: names of files directly in the folder that belong to it as tables do, and are not counted as skipped.

    Raises:
        DatasetError: the folder itself can't be read.
    """
    if not folder.is_dir():
        return Listing([])
    refused: dict[Path, str] = {}
    files = _files(folder, entries(folder), (), lambda path, error: refused.update({path: str(error)}))
    return _listing(folder, files, refused, apart)


def to_be_read(listing: Listing, folder: Path) -> list[ImageFile]:
    """The images below a folder, and each unreadable sub-folder as one, the reading of which then fails."""
    return [*listing.images, *(ImageFile(name, folder / unescaped(name)) for name in listing.unreadable)]


def entries(folder: Path) -> list[Path]:
    """Files and folders directly in a folder, by name; not those that begin with a dot, nor __MACOSX.

    Raises DatasetError where the folder can't be read.
    """
    try:
        return sorted((path for path in folder.iterdir() if not is_hidden(path.name)), key=lambda path: path.name)
    except OSError as error:
        raise DatasetError(
            f"the folder {folder} can't be read ({error.strerror}): correct it or leave it out"
        ) from error


def is_hidden(name: str) -> bool:
    """Whether files and folders of that name are left out."""
    return name.startswith(".") or name == "__MACOSX"


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files directly in a folder whose names end with one of the lower-case suffixes, in upper case too, by name.

    A link that leads nowhere counts as a file, so that whoever reads it is told. Raises DatasetError as `entries`.
    """
    return [path for path in entries(folder) if _ends(path, suffixes) and not path.is_dir()]


def files_below(folder: Path, suffixes: Collection[str], lenient: bool = False) -> list[Path]:
    """As `files_in`, however deep, links to folders followed; none where there is no such folder.

    With `lenient`, sub-folders that can't be read are left out.
    """
    if not folder.is_dir():
        return []
    files = _files(folder, entries(folder), (), _ignored if lenient else _raised)
    return [path for path, _ in files if _ends(path, suffixes)]


def _listing(
    top: Path, files: Iterable[tuple[Path, int]], refused: Mapping[Path, str], apart: Collection[str]
) -> Listing:
    """Tell images among files from others; `refused` are the folders that can't be read, once all files are taken."""
    tables = {top / name for name in apart}
    images: list[ImageFile] = []
    skipped: Counter[str] = Counter()
    for path, mode in files:
        suffix = path.suffix.lower()
        if suffix in SUFFIXES or (stat.S_ISREG(mode) and begins_as_image(path) and is_image(path)):
            images.append(ImageFile(_id(path, top), path))
        elif path not in tables:
            skipped[escaped(suffix)] += 1
    unreadable = {f"{_id(path, top)}/": reason for path, reason in refused.items()}
    return Listing(images, unreadable, dict(sorted(skipped.items())))


def _id(path: Path, top: Path) -> str:
    return escaped(path.relative_to(top).as_posix())


def _files(
    folder: Path, found: Sequence[Path], above: tuple[Path, ...], refused: Callable[[Path, DatasetError], object]
) -> Iterator[tuple[Path, int]]:
    """What is no folder among what was found in a folder, however deep, and the mode of each.

    above: the folders that led here. refused: called for a folder that can't be read.
    """
    here = folder.resolve()
    if any(path.is_relative_to(here) for path in above):  # a link back up would never end
        return
    for path in found:
        if not stat.S_ISDIR(mode := _mode(path)):
            yield path, mode
            continue
        try:
            inside = entries(path)
        except DatasetError as error:
            refused(path, error)
            continue
        yield from _files(path, inside, (*above, here), refused)


def _ignored(path: Path, error: DatasetError) -> None:
    """The folder is left out."""


def _raised(path: Path, error: DatasetError) -> None:
    raise error


def _ends(path: Path, suffixes: Collection[str]) -> bool:
    return path.name.lower().endswith(tuple(suffixes))


def _mode(path: Path) -> int:
    """Of what a path leads to; 0 where that can't be told, as of a link that leads nowhere."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
