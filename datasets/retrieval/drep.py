"""D-Rep: images that a diffusion model made beside photographs, and how much people say is replicated, 0 to 5."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import DatasetError
from bench.interfaces import Dataset, GroundTruth, ImageFile, Levels, Split
from bench.names import escaped
from bench.plugins import register_dataset
from bench.published import Download, Published
from bench.sources import below
from bench.unpacking import unpacked
from datasets import _csv
from datasets.retrieval._truth import at, no_junk, required

NAME, LEVEL = "Name", "Level"
GENERATED, REAL = "generated_images", "real_images"
LABELS, IMAGES = "labels.csv", "test_pairs"
MOST = 5.0  # 5 is total replication
#: The test part's files, and how many megabytes each has.
TABLES = {
    f"data/Test-{number:05d}-of-00006.parquet": megabytes
    for number, megabytes in enumerate((417, 422, 425, 426, 410, 435))
}


@dataclass(frozen=True)
class Pair:
    """A generated image and the photograph it was compared with. where: how an error names its row."""

    where: str
    name: str
    level: object
    generated: Path
    real: Path


@dataclass(frozen=True)
class Drep(Published):
    """The pairs of the test part: no image is right or wrong, similarities are compared with the levels."""

    def read(self) -> Split:
        shards = sorted((self.folder / "data").glob("Test-*.parquet"))
        pairs = list(_of_parquet(shards) if shards else _of_folder(self))
        if not pairs:
            raise DatasetError(f"{self.folder} holds no pair of the test part: {self.how_to_get}")
        levels = np.array([_level(pair) for pair in pairs], np.float64)
        line_of: dict[str, str] = {}
        for pair in pairs:
            if pair.name in line_of:
                raise DatasetError(f"{pair.where}: {pair.name} is in {line_of[pair.name]} already: remove one")
            line_of[pair.name] = pair.where
        rows = np.arange(len(pairs), dtype=np.int64)
        return Split(
            tuple(ImageFile(f"generated/{pair.name}", pair.generated) for pair in pairs),
            tuple(ImageFile(f"real/{pair.name}", pair.real) for pair in pairs),
            GroundTruth(no_junk(len(pairs)), no_junk(len(pairs))),
            levels=Levels(rows, rows, levels),
        )


def _level(pair: Pair) -> float:
    try:
        level = float(str(pair.level))
    except ValueError:
        level = np.nan
    if not 0 <= level <= MOST:
        raise DatasetError(f"{pair.where}: the level '{pair.level}' is no number from 0 to {MOST:g}: correct it")
    return level


def _of_parquet(shards: Sequence[Path]) -> Iterator[Pair]:
    """The pairs of the published tables, whose images are unpacked into the cache folder."""
    import pyarrow as pa
    from pyarrow import parquet

    generated, real = (_images(shards, column) for column in (GENERATED, REAL))
    for shard in shards:
        try:
            if missing := {NAME, LEVEL} - set(parquet.read_schema(shard).names):
                raise DatasetError(f"{shard} lacks the column {' and '.join(sorted(missing))}: get it again")
            rows = parquet.read_table(shard, columns=[NAME, LEVEL]).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"the parquet file {shard} can't be read ({error}): get it again") from error
        if not rows:
            raise DatasetError(f"the parquet file {shard} holds no row: get it again")
        for number, row in enumerate(rows):
            key = f"{escaped(shard.name)}/{number:08d}"
            where = f"{shard}, row {number} counted from 0"
            yield Pair(where, row[NAME], row[LEVEL], generated[key], real[key])


def _images(shards: Sequence[Path], column: str) -> Mapping[str, Path]:
    """By table and row. Raises DatasetError where one can't be read."""
    listing = unpacked(shards, column)
    if listing.unreadable:
        raise DatasetError(next(iter(listing.unreadable.values())))
    return {image.id.rpartition(".")[0]: image.path for image in listing.images}


def _of_folder(dataset: Drep) -> Iterator[Pair]:
    """The pairs below test_pairs/; labels.csv has those of the training part, too.

    An image is told by its path: the pair's name is a word of it, and a word of a generated one begins with gen.
    """
    labels = required(dataset, dataset.folder / LABELS)
    rows = [(line, row[NAME], row[LEVEL]) for line, row in _csv.read(labels, (NAME, LEVEL))]
    found: dict[str, dict[bool, Path]] = {name: {} for _, name, _ in rows}
    for image in below(dataset.folder / IMAGES):
        words = re.split(r"[^A-Za-z0-9]+", image.id)
        name = next((word for word in words if word in found), None)
        if name is None:
            raise DatasetError(
                f"{image.path}: there is no pair of that {NAME} in {labels}: remove it or get both again"
            )
        is_generated = any(word.lower().startswith("gen") for word in words)
        if other := found[name].get(is_generated):
            raise DatasetError(f"{other} and {image.path} are the same image of the pair {name}: remove one")
        found[name][is_generated] = image.path
    for line, name, level in rows:
        if images := found[name]:
            if len(images) < 2:
                lacking = "real" if True in images else "generated"
                raise DatasetError(
                    f"{labels}, line {line}: {dataset.folder / IMAGES} lacks the {lacking} image of {name}"
                )
            yield Pair(f"{labels}, line {line}", name, level, images[True], images[False])


@register_dataset(groups=("published",), argument="DIR")
def drep(directory: str = "") -> Dataset:
    """D-Rep's test part, as its tables or as labels.csv and test_pairs/."""
    home = "https://huggingface.co/datasets/WenhaoWang/D-Rep"
    return Drep(
        "drep",
        "copy",
        "D-Rep: similarity of 4,000 generated images to photographs against the replication that people see",
        metrics=("pearson", "relative_deviation"),
        directory=at(directory),
        layout=f"data/Test-*.parquet with the columns {NAME}, {LEVEL}, {GENERATED} and {REAL}, or {LABELS} with {NAME} "
        f"and {LEVEL} and {IMAGES}/ with {GENERATED}/NAME.jpg and {REAL}/NAME.jpg",
        homepage=home,
        licence="CC-BY-NC-4.0",
        citation="Wang, Sun, Tan, Yang: Image copy detection for diffusion models, NeurIPS 2024",
        downloads=tuple(
            Download(f"{home}/resolve/main/{table}", table, unpack=False, megabytes=megabytes)
            for table, megabytes in TABLES.items()
        ),
        counts={"n_queries": 4000, "n_database": 4000, "n_junk": 0},
    )
