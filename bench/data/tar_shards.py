"""The images of a webdataset shard, a tar whose files `KEY.jpg`, `KEY.json`, ... are one sample."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from bench.archives import BLOCK_BYTES
from bench.data.sniffing import PREFIX, could_be_image
from bench.data.tar_members import BrokenTar, Member, members
from bench.data.unpacked_folder import Unpacking
from bench.errors import ImageError
from bench.images.formats import SUFFIXES
from bench.listing import is_hidden

#: Of one member.
MOST_BYTES = 2 << 30


@dataclass(frozen=True)
class _Image:
    """A member that is or should be its key's image. rank: of several the lowest counts.

    file: None where it is no image that is read; `failed` is then the sentence that says why.
    """

    name: str
    rank: int
    extension: str
    file: Path | None
    failed: str = ""


def unpack(shard: Path, name: str, folder: Unpacking) -> None:
    """Unpack the images of a shard; what can't be read is listed and left out.

    Of the members of a key, its image is `KEY.jpg` with any suffix of an image, else one such as `KEY.photo.png`, else
    one whose content is an image. Images are named NAME/KEY.

    Raises OSError where the system can't read the shard or write the images.
    """
    images: dict[str, list[_Image]] = {}
    damages: list[str] = []
    with shard.open("rb") as stream:
        try:
            for member in members(stream, shard.stat().st_size, damages.append):
                _take(member, shard, name, images, folder)
        except BrokenTar as error:
            damages.append(str(error))
    for key, found in images.items():
        _choose(f"{name}/{key}", f"{shard}, key '{key}'", found, folder)
    if damages:
        more = f", and {len(damages) - 1} more places are damaged" if len(damages) > 1 else ""
        folder.fail(name, f"the shard {shard} can't be read whole ({damages[0]}{more}): get it again or leave it out")


def _take(member: Member, shard: Path, name: str, images: dict[str, list[_Image]], folder: Unpacking) -> None:
    """Keep a member if it may be the image of its key."""
    info = member.info
    path = PurePosixPath(info.name)
    if info.isdir():
        return
    if path.is_absolute() or not path.parts or ".." in path.parts or not info.isreg() or info.issparse():
        folder.fail(
            f"{name}/{info.name}",
            f"{shard}: '{info.name}' is a link, no ordinary file, or leads out of the folder: get the shard from a "
            "source that you trust",
        )
        return
    if any(map(is_hidden, path.parts)):  # webdataset, too, leaves out what begins with a dot
        return
    # a key ends at the first dot of the file's name
    last, _, extension = path.name.partition(".")
    key, extension = str(path.with_name(last)), extension.lower()
    rank = 0 if f".{extension}" in SUFFIXES else 1 if path.suffix.lower() in SUFFIXES else 2
    others = images.setdefault(key, [])
    kept = None
    if all(rank <= other.rank for other in others):
        kept = _kept(member, rank, extension, f"{shard}, key '{key}'", folder)
    if kept is None:
        folder.skip(f".{extension}" if rank == 1 else path.suffix)
    else:
        others.append(kept)


def _kept(member: Member, rank: int, extension: str, where: str, folder: Unpacking) -> _Image | None:
    """A member with its content; None where neither its name nor its content is that of an image."""
    name, named = member.info.name, rank < 2
    begins = member.read(PREFIX)
    if not named and not could_be_image(begins):
        return None
    try:
        if not begins:
            raise ImageError(f"{where}: the image {name} is empty, replace it or leave it out")
        if member.info.size > MOST_BYTES:
            raise ImageError(f"{where}: the image {name} has more than {MOST_BYTES:,} bytes, leave it out")
        file = folder.keep(chain([begins], _rest(member)), f".{extension}", f"{name} of {where}")
    except ImageError as error:
        return _Image(name, rank, extension, None, str(error)) if named else None
    return _Image(name, rank, extension, file)


def _rest(member: Member) -> Iterator[bytes]:
    while block := member.read(BLOCK_BYTES):
        yield block


def _choose(name: str, where: str, found: list[_Image], folder: Unpacking) -> None:
    """Add the image of a key, or say why it has none."""
    lowest = min((image.rank for image in found), default=0)
    chosen = [image for image in found if image.rank == lowest]
    for image in found:
        if image.file and (image not in chosen or len(chosen) > 1):
            image.file.unlink()
        if image not in chosen:  # beside KEY.jpg, KEY.mask.png is not the key's image
            folder.skip(f".{image.extension}")
    if len(chosen) > 1:
        names = ", ".join(image.name for image in chosen)
        folder.fail(name, f"{where} has {len(chosen)} images ({names}): give each a key of its own")
    elif chosen and chosen[0].file:
        folder.add(name, chosen[0].file)
    elif chosen:
        folder.fail(name, chosen[0].failed)
