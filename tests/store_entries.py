"""Entries of a descriptor store made of given rows, for tests of what reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.descriptors.shard_writer import Writer
from bench.extract import Throughput
from bench.manifest import Name
from bench.store import DescriptorStore

THROUGHPUT = Throughput(3.5, 5, 2, 1)
DETAILS: Mapping[str, Any] = {
    "n_parameters": 12,
    "throughput": asdict(THROUGHPUT),
    "hardware": {"cpu": "one"},
    "measured_utc": "2026-01-01",
}


def names(n: int, prefix: str = "image") -> list[Name]:
    """Images of different contents."""
    return [Name(f"{prefix}{number}", f"content of {prefix}{number}") for number in range(n)]


def write(writer: Writer, rows: NDArray[np.floating], named: Sequence[Name], batch_size: int = 1) -> None:
    """Append the rows batch by batch, and finish."""
    for first in range(0, len(rows), batch_size):
        writer.append(rows[first : first + batch_size], named[first : first + batch_size])
    writer.finish(**DETAILS)


def keep(store: DescriptorStore, key: Mapping[str, Any], rows: NDArray[np.floating], batch_size: int = 1) -> Path:
    """Fill an entry unless it is whole; its folder."""
    named = names(len(rows))
    with store.filling(key, named) as writer:
        if not writer.whole:
            assert writer.done == 0
            write(writer, rows, named, batch_size)
    return store.root / store.key(key)
