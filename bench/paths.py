"""Where the harness keeps what it can make again: built datasets, downloaded weights, descriptors."""

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The cache folder: $BENCH_HOME, or the platform's own place for caches."""
    chosen = os.environ.get("BENCH_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("descriptor-bench"))


def datasets() -> Path:
    """The folder of datasets, one sub-folder each: $BENCH_DATASETS, or `datasets` in the cache folder."""
    chosen = os.environ.get("BENCH_DATASETS")
    return Path(chosen) if chosen else home() / "datasets"
