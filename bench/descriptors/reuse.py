"""Descriptors that were made before, found by the content of their image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError
from bench.files import sha256_file
from bench.shards import Meta, damaged, listing, names_file, names_in, rows_file


class Reusable:
    """Rows on disk by the content of their image.

    Attributes:
        details: How most of them were made, as meta.json has it; empty where nothing says so.
    """

    def __init__(self) -> None:
        self._files: list[Path] = []
        self._at: dict[str, tuple[int, int]] = {}
        self.details: Mapping[str, Any] = {}

    def __contains__(self, content: str) -> bool:
        return content in self._at

    def rows(self, contents: Sequence[str]) -> NDArray[np.floating]:
        """Read the rows [B, D] or [B, T, d] of images that are all in here."""
        files = {
            number: np.load(self._files[number], mmap_mode="r") for number, _ in map(self._at.__getitem__, contents)
        }
        return np.stack([files[number][row] for number, row in map(self._at.__getitem__, contents)])

    def add_pairs(self, folder: Path) -> None:
        """Add shards that lie in a folder under names made of their checksums, as `Writer` sets them aside."""
        for rows in sorted(folder.glob("*.npy")):
            names, sha256 = rows.with_suffix(".parquet"), rows.stem.split("-")
            if names.is_file() and all(
                sha256_file(path).startswith(of) for path, of in zip((rows, names), sha256, strict=True)
            ):
                self._add(rows, names)

    def add_folder(self, folder: Path, wanted: set[str]) -> None:
        """Add the whole shards of a folder of `bench.shards` that hold wanted contents."""
        try:
            if (listed := listing(folder)) is None:
                return
            meta = Meta.read(listed)
        except (FileNotFoundError, DescriptorError):  # deleted since, or damaged
            return
        numbers = [
            number
            for number in range(len(meta.shards))
            if not wanted.isdisjoint(name.content for name in names_in(folder / names_file(number)))
        ]
        lost = {number for number, _ in damaged(folder, meta)} if numbers else set()
        for number in numbers:
            if number not in lost:
                self._add(folder / rows_file(number), folder / names_file(number))
        if numbers:
            self.learn(meta.details)

    def learn(self, details: Mapping[str, Any]) -> None:
        """Keep the account of an extraction if it was of more images than the one known."""
        if _n_images(details) > _n_images(self.details):
            self.details = details

    def _add(self, rows: Path, names: Path) -> None:
        self._files.append(rows)
        for row, name in enumerate(names_in(names)):
            self._at.setdefault(name.content, (len(self._files) - 1, row))


def _n_images(details: Mapping[str, Any]) -> int:
    return int((details.get("throughput") or {}).get("n_images", 0))
