"""Images that cannot be read or described: their list, and the part of a dataset that is left."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DatasetError, ImageError
from bench.files import csv_text, write_text
from bench.interfaces import GroundTruth, ImageFile, Indices, Split
from bench.listing import counted
from bench.manifest import hash_files
from bench.sample import selected
from bench.sources import Source

UNREADABLE, BLANK = "unreadable.csv", "blank.csv"
COLUMNS = ("side", "id", "reason")


def readable_files(source: Source, strict: bool) -> tuple[list[ImageFile], dict[str, str], dict[str, str]]:
    """Hash the files of a source.

    Args:
        strict: Stop at the first that cannot be read.

    Returns:
        The images whose file can be read; sha256 by their ids; and the others, id -> reason.

    Raises:
        DatasetError: There are none.
        ImageError: One cannot be read, and `strict`.
    """
    sha256, unreadable = hash_files(source.images)
    unreadable = {**source.unreadable, **unreadable}
    require_none(unreadable, strict)
    if not sha256:
        raise DatasetError(f"none of {len(unreadable)} images can be read: {next(iter(unreadable.values()))}")
    return [image for image in source.images if image.id in sha256], sha256, unreadable


def require_none(failed: Mapping[str, str], strict: bool) -> None:
    """Check, if `strict`, that no image failed. Raises ImageError with the first reason."""
    if strict and failed:
        raise ImageError(next(iter(failed.values())))


@dataclass(frozen=True)
class LeftOut:
    """What of a set of images is not used.

    unreadable, blank: images that can't be read or described, and that show nothing, id -> reason. skipped: files that
    are no images, by suffix.
    """

    unreadable: Mapping[str, str] = field(default_factory=dict)
    blank: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Iterable["LeftOut"]) -> "LeftOut":
        """What is left out by one or several backbones of one set."""
        joined = cls({}, {}, {})
        for part in parts:
            joined = cls(*({**mine, **its} for mine, its in zip(joined._parts, part._parts, strict=True)))
        return joined

    @property
    def _parts(self) -> tuple[Mapping[str, Any], ...]:
        return self.unreadable, self.blank, self.skipped

    @property
    def counts(self) -> dict[str, Any]:
        """For JSON: numbers of images, and of skipped files by suffix."""
        return {"unreadable": len(self.unreadable), "blank": len(self.blank), "skipped": dict(self.skipped)}


NOTHING = LeftOut()


def write_left_out(folder: Path, sides: Mapping[str, LeftOut], prefix: str = "") -> list[Path]:
    """Write unreadable.csv and blank.csv, each with the columns side, id, reason.

    Args:
        sides: By a name such as generated, or that of a dataset.
        prefix: Of the file names, where the folder is not the command's own.

    Returns:
        The files; where there is no such image, there is none, and none is left from before.
    """
    lists = {
        UNREADABLE: {side: of.unreadable for side, of in sides.items()},
        BLANK: {side: of.blank for side, of in sides.items()},
    }
    return [path for name, by_side in lists.items() for path in _write_list(folder / f"{prefix}{name}", by_side)]


def _write_list(path: Path, by_side: Mapping[str, Mapping[str, str]]) -> Iterator[Path]:
    rows = [(side, name, why) for side, of in by_side.items() for name, why in of.items()]
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_text(path, csv_text([COLUMNS, *rows]))
    yield path


def sentences(side: str, of: LeftOut) -> Iterator[str]:
    """The sentences of a summary on what is left out of a set; none where nothing is."""
    for images, one, several in (
        (of.unreadable, "image can't be read or described and is", "images can't be read or described and are"),
        (of.blank, "image is blank and is", "images are blank and are"),
    ):
        if images:
            first, why = next(iter(images.items()))
            noun = one if len(images) == 1 else several
            yield f"{side}: {len(images):,} {noun} left out; the first is {first}: {why}"
    if of.skipped:
        yield f"{side}: files that are no images are skipped: {counted(of.skipped)}"


def needed(split: Split, lost: Collection[str]) -> list[ImageFile]:
    """The lost images that a dataset's ground truth needs: queries, and what answers them or was judged."""
    answers = [rows for truth in (split.ground_truth, *split.setups.values()) for rows in truth.positives]
    if split.levels:
        answers.append(split.levels.database)
    rows = set(np.concatenate([*answers, np.empty(0, np.int64)]).tolist())
    sought = [image for row, image in enumerate(split.database) if row in rows]
    return list({image.id: image for image in (*split.queries, *sought) if image.id in lost}.values())


def require_needed(name: str, split: Split, lost: Mapping[str, str]) -> None:
    """Check that no query and no positive of a dataset is lost.

    Raises:
        DatasetError: Some are; the sentence names all of them.
    """
    if images := needed(split, lost):
        named = "; ".join(f"{image.id} ({lost[image.id]})" for image in images)
        raise DatasetError(
            f"{len(images)} images that the ground truth of {name} needs can't be read or described: {named}; mend "
            "them, or leave them out by --skip-unreadable"
        )


def without(split: Split, lost: Collection[str]) -> Split:
    """The part of a split without lost images.

    A query whose positives are all lost is left out too, so that it does not count as one without a match.
    """
    if not lost:
        return split
    database = np.array([row for row, image in enumerate(split.database) if image.id not in lost], np.int64)
    queries = [
        place
        for place, image in enumerate(split.queries)
        if image.id not in lost and not _is_robbed(split.ground_truth, place, database)
    ]
    return selected(split, np.array(queries, np.int64), database)


def _is_robbed(truth: GroundTruth, query: int, database: Indices) -> bool:
    positives = truth.positives[query]
    return bool(len(positives)) and not np.isin(positives, database).any()
