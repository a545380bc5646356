"""A backbone's descriptors of any images in a folder of their own, in the layout of bench.shards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from bench import paths
from bench.data.unreadable import LeftOut, readable_files, require_none, write_left_out
from bench.describe import Loading
from bench.descriptor import DescriptorKind
from bench.descriptors.fill import How, fill
from bench.descriptors.shard_writer import Writer
from bench.errors import UsageError
from bench.extract import DType
from bench.files import sha256_text
from bench.manifest import contents, images_sha256
from bench.sources import Source

#: Of the images in unreadable.csv.
SIDE = "images"


@dataclass(frozen=True)
class Embedded:
    """n_images: that have a row. lists: the files that list the others."""

    n_images: int
    left_out: LeftOut
    lists: Sequence[Path]


def embed(loading: Loading, source: Source, folder: Path, kind: DescriptorKind, dtype: DType, how: How) -> Embedded:
    """Write the descriptors of all images of a source to a folder, with their ids as names.

    It goes on in a folder that it wrote before: rows of images that are the same stay, those that were added or
    replaced are described, those that are gone are dropped. unreadable.csv lists the images that have no row.

    Raises:
        UsageError: The folder holds anything else, or another process writes to it.
        DatasetError: There are no images.
        ImageError, DescriptorError, OSError: As `fill`.
    """
    images, sha256, unreadable = readable_files(source, how.strict)
    names = contents(images, sha256)
    key = loading.key(images_sha256(images, sha256), kind, dtype)
    with _alone(folder), Writer(folder, key, names) as writer:
        if not writer.whole:
            fill(writer, loading, images, names, key, how)
        failed = {name: of.reason for name, of in writer.failed.items()}
        require_none(failed, how.strict)
        left_out = LeftOut({**unreadable, **failed}, {}, source.skipped)
        lists = write_left_out(folder, {SIDE: left_out})
    return Embedded(len(images) - len(failed), left_out, lists)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Raises UsageError where another process of this machine writes to `folder`."""
    lock = paths.home() / "locks" / f"{sha256_text(str(folder.resolve()))[:16]}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock).acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another process is writing to {folder}: wait for it, or choose another --output") from error
    with held:
        yield
