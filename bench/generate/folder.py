"""A folder that one command fills under one configuration: begun, gone on with, or refused."""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench import provenance
from bench.errors import UsageError
from bench.files import write_json

LOCK = ".lock"
#: What a killed process leaves, whole files and folders aside.
HALF_MADE = (".*.tmp", ".making-*")
#: Distributions that what is generated depends on.
PACKAGES = ("accelerate", "diffusers", "numpy", "pillow", "safetensors", "torch", "transformers")


@contextmanager
def opened(path: Path, name: str, configuration: Mapping[str, Any], device: str) -> Iterator[None]:
    """Holds the folder, with `configuration` in its file `name`, for the time of the block.

    Beside the configuration, the file says what began the folder: command, commit, packages, machine. Raises UsageError
    where the folder holds anything else, belongs to another configuration, or another process writes to it.
    """
    _require_ours(path, name)
    require_same(path, name, configuration)
    path.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(path / LOCK).acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another process is writing to {path}: wait for it, or choose another --output") from error
    with held:
        for half_made in (found for pattern in HALF_MADE for found in path.glob(pattern)):
            shutil.rmtree(half_made) if half_made.is_dir() else half_made.unlink()
        if not (path / name).is_file():
            write_json(path / name, {**configuration, "begun_by": _begun_by(device)})
        yield


def require_no_file(path: Path) -> None:
    """Raises UsageError where a file is in the way of the folder."""
    if blocked := next((place for place in (path, *path.parents) if place.is_file()), None):
        raise UsageError(f"can't write to the folder {path}: {blocked} is a file; choose another --output")


def require_same(path: Path, name: str, configuration: Mapping[str, Any]) -> None:
    """Raises UsageError where the folder has a file of that name which says something else, or nothing."""
    if not (path / name).is_file():
        return
    wanted = json.loads(json.dumps(configuration))
    try:
        before = json.loads((path / name).read_text(encoding="utf-8"))
        changed = [key for key in wanted if before.get(key) != wanted[key]]
    except (ValueError, AttributeError) as error:
        raise UsageError(f"the file {path / name} can't be read ({error}): choose another --output") from error
    if changed:
        told = "; ".join(f"{key} was {before.get(key)}, now {wanted[key]}" for key in changed)
        raise UsageError(f"the folder {path} belongs to another run ({told}): choose another --output")


def _require_ours(path: Path, name: str) -> None:
    require_no_file(path)
    if (path / name).is_file() or not path.is_dir():
        return
    begun = {LOCK, *(found.name for pattern in HALF_MADE for found in path.glob(pattern))}
    if any(entry.name not in begun for entry in path.iterdir()):
        raise UsageError(f"the folder {path} is not empty and has no {name}: choose another --output")


def _begun_by(device: str) -> dict[str, Any]:
    return {
        "argv": ["bench", *sys.argv[1:]],
        "git": provenance.git(),
        "packages": provenance.versions(PACKAGES),
        "hardware": provenance.hardware(device),
        "created_utc": provenance.now(),
    }
