"""The descriptor store: a folder per key, whole or absent, checked when it is opened."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.extract import Throughput
from bench.files import sha256_file, sha256_text, whole_folder, write_atomic, write_json

FORMAT = 1


@dataclass(frozen=True)
class Stored:
    """Descriptors [N, D] float32, in the order of the images they were made from, and how they were made.

    hardware, measured_utc: where and when the throughput was measured.
    """

    descriptors: NDArray[np.float32]
    n_parameters: int
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
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            shutil.rmtree(folder, ignore_errors=True)  # what is left of a damaged entry, if there is one
            return None

    def keep(self, parts: Mapping[str, Any], made: Stored) -> None:
        """Store descriptors. Raises OSError (no permission, full disk); nothing is then stored."""
        with whole_folder(self.root / self.key(parts)) as folder:
            array = folder / "descriptors.npy"
            write_atomic(array, lambda stream: np.save(stream, made.descriptors, allow_pickle=False))
            meta = {
                "sha256": sha256_file(array),
                "n_parameters": made.n_parameters,
                "throughput": asdict(made.throughput),
                "hardware": dict(made.hardware),
                "measured_utc": made.measured_utc,
                "made_from": dict(parts),
            }
            write_json(folder / "meta.json", meta)
