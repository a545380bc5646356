"""The descriptor store: a folder per key, whole or absent, checked when it is opened."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.extract import Throughput
from bench.files import sha256_file, sha256_text, whole_folder, write_json

FORMAT = 1


@dataclass(frozen=True)
class Stored:
    """Descriptors [N, D] float32, in the order of the images they were made from, and how they were made.

    hardware, measured_utc: where and when the throughput was measured.
    """

    descriptors: NDArray[np.float32]
    n_parameters: int | None
    throughput: Throughput
    hardware: Mapping[str, Any]
    measured_utc: str


class DescriptorStore:
    """Descriptors on disk under `root`.

    The key is the sha256 of what decides a value (`bench.cells.descriptor_key` gathers it), so an entry does not go
    stale; one that is damaged is dropped and made again.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def require_writable(self) -> None:
        """Raises UsageError where nothing can be stored: better now than after an hour of extraction."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.root).close()
        except OSError as error:
            raise UsageError(
                f"can't write to the cache folder {self.root} ({error.strerror}): set BENCH_HOME to another one"
            ) from error

    @staticmethod
    def key(parts: Mapping[str, Any]) -> str:
        """sha256 of the canonical JSON of `parts`."""
        return sha256_text(json.dumps({"format": FORMAT, **parts}, sort_keys=True))

    def find(self, parts: Mapping[str, Any]) -> Stored | None:
        """The stored descriptors for `parts`, mapped from disk; None where there are none, or they are damaged."""
        folder = self.root / self.key(parts)
        try:
            meta = json.loads((folder / "meta.json").read_text())
            array = folder / "descriptors.npy"
            if sha256_file(array) != meta["sha256"]:
                raise ValueError("checksum")
            descriptors = np.load(array, mmap_mode="r", allow_pickle=False)
            throughput = Throughput(**meta["throughput"])
            return Stored(descriptors, meta["n_parameters"], throughput, meta["hardware"], meta["measured_utc"])
        except (FileNotFoundError, EOFError, ValueError, KeyError, TypeError):
            shutil.rmtree(folder, ignore_errors=True)  # what is left of a damaged entry, if there is one
            return None

    @contextmanager
    def filling(self, parts: Mapping[str, Any], n_images: int) -> Iterator["Filling"]:
        """An entry to be filled with the descriptors of `n_images` images; nothing is stored if the block fails.

        Raises OSError (no permission, full disk).
        """
        with whole_folder(self.root / self.key(parts)) as folder, (folder / "descriptors.npy").open("wb") as stream:
            yield Filling(folder, stream, n_images, dict(parts))


class Filling:
    """A store entry that is being written, row by row: memory does not grow with the number of images."""

    def __init__(self, folder: Path, stream: IO[bytes], n_images: int, parts: Mapping[str, Any]) -> None:
        self._folder = folder
        self._stream = stream
        self._missing = n_images
        self._parts = parts

    def append(self, rows: NDArray[np.float32]) -> None:
        """The next descriptors [B, D]."""
        if not self._stream.tell():
            header = {"descr": "<f4", "fortran_order": False, "shape": (self._missing, rows.shape[1])}
            np.lib.format.write_array_header_2_0(self._stream, header)
        self._stream.write(np.ascontiguousarray(rows, "<f4").tobytes())
        self._missing -= len(rows)

    def finish(
        self, n_parameters: int | None, throughput: Throughput, hardware: Mapping[str, Any], measured_utc: str
    ) -> None:
        """Flush the rows to disk and write how they were made."""
        assert self._missing == 0
        self._stream.flush()
        os.fsync(self._stream.fileno())
        meta = {
            "sha256": sha256_file(self._folder / "descriptors.npy"),
            "n_parameters": n_parameters,
            "throughput": asdict(throughput),
            "hardware": dict(hardware),
            "measured_utc": measured_utc,
            "made_from": dict(self._parts),
        }
        write_json(self._folder / "meta.json", meta)
