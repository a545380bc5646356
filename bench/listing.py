"""What lies in a folder, hidden files and folders left out: images by their content, and what else."""

import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import DatasetError
from bench.images.formats import SUFFIXES, is_image
from bench.interfaces import ImageFile
from bench.names import escaped, unescaped
from bench.sniffing import begins_as_image


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
    """Write what was skipped, such as `3 .txt, 1 with no suffix`, the most frequent first."""
    order = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{n:,} {suffix or 'with no suffix'}" for suffix, n in order)


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
    walk = _Walk(folder)
    walk.files(entries(folder))
    return walk.listing()


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
    walk = _Walk(folder, frozenset(apart))
    if folder.is_dir():
        walk.below(folder, entries(folder), ())
    return walk.listing()


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
    return [path for path in _files(folder, entries(folder), (), lenient) if _ends(path, suffixes)]


class _Walk:
    """What has been found below a folder."""

    def __init__(self, top: Path, apart: frozenset[str] = frozenset()) -> None:
        self._top = top
        self._apart = {top / name for name in apart}
        self._images: list[ImageFile] = []
        self._unreadable: dict[str, str] = {}
        self._skipped: Counter[str] = Counter()

    def listing(self) -> Listing:
        return Listing(self._images, self._unreadable, dict(sorted(self._skipped.items())))

    def below(self, folder: Path, found: Sequence[Path], above: tuple[Path, ...]) -> None:
        """Take what was found in a folder, and what lies below it; `above` are the folders that led here."""
        here = folder.resolve()
        if any(path.is_relative_to(here) for path in above):  # a link back up would never end
            return
        for path in found:
            mode = _mode(path)
            if not stat.S_ISDIR(mode):
                self._file(path, mode)
                continue
            try:
                inside = entries(path)
            except DatasetError as error:
                self._unreadable[f"{self._id(path)}/"] = str(error)
                continue
            self.below(path, inside, (*above, here))

    def files(self, found: Sequence[Path]) -> None:
        """Take the files among what was found."""
        for path in found:
            if not stat.S_ISDIR(mode := _mode(path)):
                self._file(path, mode)

    def _file(self, path: Path, mode: int) -> None:
        suffix = path.suffix.lower()
        if suffix in SUFFIXES or (stat.S_ISREG(mode) and begins_as_image(path) and is_image(path)):
            self._images.append(ImageFile(self._id(path), path))
        elif path not in self._apart:
            self._skipped[escaped(suffix)] += 1

    def _id(self, path: Path) -> str:
        return escaped(path.relative_to(self._top).as_posix())


def _files(folder: Path, found: Sequence[Path], above: tuple[Path, ...], lenient: bool) -> Iterator[Path]:
    here = folder.resolve()
    if any(path.is_relative_to(here) for path in above):  # a link back up would never end
        return
    for path in found:
        if not stat.S_ISDIR(_mode(path)):
            yield path
            continue
        try:
            inside = entries(path)
        except DatasetError:
            if not lenient:
                raise
            continue
        yield from _files(path, inside, (*above, here), lenient)


def _ends(path: Path, suffixes: Collection[str]) -> bool:
    return path.name.lower().endswith(tuple(suffixes))


def _mode(path: Path) -> int:
    """Of what a path leads to; 0 where that can't be told, as of a link that leads nowhere."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
