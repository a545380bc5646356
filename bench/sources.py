"""Where images come from: any folder, a list, the database of a dataset, webdataset shards, parquet files."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from bench import plugins
from bench.data import image_lists
from bench.data.tar_members import TARS
from bench.errors import DatasetError, UsageError
from bench.interfaces import Dataset, ImageFile
from bench.listing import Listing as Listing
from bench.listing import counted, files_below, listed_below, to_be_read, together
from bench.names import escaped
from bench.unpacking import absolute, unpacked

PARQUET, CSV = ".parquet", ".csv"


@dataclass(frozen=True)
class Source:
    """Images to make or fit something of. identity: the path, or the dataset's identity."""

    identity: str
    read: Callable[[], Listing]

    @cached_property
    def listing(self) -> Listing:
        """What the source holds, listed and unpacked once."""
        return self.read()

    @cached_property
    def images(self) -> Sequence[ImageFile]:
        """Each with an id of its own; unpacked where they are not yet.

        Raises DatasetError where there are none, with the reason where what there is can't be read.
        """
        if not self.listing.images:
            raise DatasetError(self._nothing())
        return self.listing.images

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Id -> reason, one sentence, of what is known not to be readable before it is decoded."""
        return self.listing.unreadable

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files are no images, by lower-case suffix."""
        return self.listing.skipped

    def _nothing(self) -> str:
        if reasons := list(self.unreadable.values()):
            more = f"; {len(reasons) - 1:,} more can't be read" if len(reasons) > 1 else ""
            return f"{reasons[0]}{more}"
        there = f" but {counted(self.skipped)}" if self.skipped else ""
        return f"{self.identity} holds no images{there}: name a folder, a dataset or shards that do"


def images_of(spec: str) -> Source:
    """The images that `spec` names.

    It is a folder (all images below it, or else the shards below it); shards as `x.tar`, `x-{0000..0009}.tar`, `*.tar`,
    compressed ones such as `x.tar.gz`, or the same of parquet files, several with commas between, with `#COLUMN` behind
    where the images stand in a column of another name; a list `x.csv` of paths, as `bench generate train` leaves it; or
    a dataset, of which it is the database. Raises UsageError, a sentence that begins with the spec, where it is none of
    them.
    """
    path, _, column = (spec, "", "") if _is_there(spec) else spec.partition("#")
    if _is_there(path) and Path(path).is_dir():
        return Source(_identity([Path(path).resolve()], column), partial(_in_folder, Path(path), column))
    if path.lower().endswith(TARS) and column:
        raise UsageError(f"'{spec}' names a column, but a .tar has none: leave out #{column}")
    if path.lower().endswith((*TARS, PARQUET)):
        named = [absolute(Path(part)) for part in _parts(path)]
        return Source(_identity(named, column), partial(unpacked, _shards(path), column))
    if path.lower().endswith(CSV):
        if not _is_there(path):
            raise UsageError(f"'{spec}' is a list of images, but there is no such file: correct it")
        return Source(
            _identity([absolute(Path(path))], column), partial(image_lists.read, Path(path), column or "path")
        )
    return _of_dataset(spec)


def below(folder: Path) -> Sequence[ImageFile]:
    """All images below a folder by their names, which are paths relative to it; links to folders are followed.

    A sub-folder that can't be read is among them, so that whoever reads it is told.
    """
    return to_be_read(listed_below(folder), folder)


def _in_folder(folder: Path, column: str) -> Listing:
    found = Listing([]) if column else listed_below(folder)
    if found.images:
        return found
    # tar first: img2dataset writes tables without images beside its tar shards
    for suffixes in ((PARQUET,),) if column else (TARS, (PARQUET,)):
        if shards := files_below(folder, suffixes, lenient=True):
            packed = unpacked(shards, column)
            others = Counter(found.skipped) - Counter(shard.suffix.lower() for shard in shards)
            return Listing(packed.images, {**found.unreadable, **packed.unreadable}, together(others, packed.skipped))
    return found


def _of_dataset(spec: str) -> Source:
    try:
        chosen: list[Dataset] = [selected.item for selected in plugins.datasets.select(spec)]
    except UsageError as error:
        raise UsageError(f"'{spec}' is no folder, no .tar or .parquet file, and {error}") from error
    if len(chosen) > 1:
        raise UsageError(f"'{spec}' is {len(chosen)} datasets: name one, or a folder")
    return Source(escaped(chosen[0].identity), partial(_database, chosen[0]))


def _database(dataset: Dataset) -> Listing:
    split = dataset.load()
    return Listing(split.database, skipped=split.skipped)


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a list of files may be longer than a name can be
        return False


def _parts(spec: str) -> list[str]:
    return [spec] if _is_there(spec) else [part.strip() for part in spec.split(",")]


def _identity(named: Sequence[Path], column: str) -> str:
    return escaped(",".join(map(str, named)) + (f"#{column}" if column else ""))


def _shards(spec: str) -> list[Path]:
    """The files of a comma-separated list of names, ranges in braces, and patterns, each once."""
    found: dict[Path, None] = {}
    for name in (name for part in _parts(spec) for name in _expanded(part)):
        files = [Path(name)] if Path(name).is_file() else _matching(name)
        if not files:
            raise UsageError(f"'{spec}' names {name}, but there is no such file: correct it")
        found |= dict.fromkeys(files)
    if not found:
        raise UsageError(f"'{spec}' is a range that ends before it begins: correct it")
    return list(found)


def _expanded(name: str) -> Iterator[str]:
    """`x-{08..10}` as x-08, x-09, x-10."""
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", name)
    if not braces:
        yield name
        return
    first, last = braces.groups()
    width = max(len(first), len(last)) if first.startswith("0") else 0
    for number in range(int(first), int(last) + 1):
        yield from _expanded(name.replace(braces.group(), f"{number:0{width}d}", 1))


def _matching(pattern: str) -> list[Path]:
    anchor = Path(pattern).anchor
    found = Path(anchor or ".").glob(pattern.removeprefix(anchor)) if set(pattern) & set("*?[") else ()
    return sorted(path for path in found if path.is_file())
