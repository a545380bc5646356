"""Where a number comes from: code, packages, machine."""

import os
import platform
import subprocess
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.files import sha256_file, sha256_text
from bench.plugins import ROOT

PACKAGES = ("numpy", "pandas", "pillow", "scikit-image", "scikit-learn", "timm", "torch", "torchvision")
#: Of these a descriptor depends whatever the backbone.
DESCRIPTOR_PACKAGES = ("numpy", "pillow", "timm", "torch", "torchvision")


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Installed versions by distribution name; None where it is not installed."""
    return {name: _version(name) for name in sorted(set(packages))}


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def run_id() -> str:
    """One identifier for all that this process computes."""
    return uuid.uuid4().hex


@cache
def git() -> dict[str, Any]:
    """Commit of this checkout and whether its files, results aside, differ from it; None outside a repository."""
    changed = _git("status", "--porcelain", "--", ".", ":!results")
    return {"sha": _git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}


@cache
def hardware(device: str, threads: int | None = None) -> dict[str, Any]:
    """CPU, cores, memory, threads, system, and the GPU where one was used.

    threads: of what does not compute by torch, which then is not imported; None for those of torch.
    """
    return {
        "device": device,
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": _torch_threads() if threads is None else threads,
        "ram_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        **(_gpu(device) if device.startswith("cuda") else {"gpu": None, "cuda": None}),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def code_hash(files: Iterable[Path]) -> str:
    """One hash of the content of source files, whatever their order."""
    return sha256_text("\n".join(sorted({sha256_file(path) for path in files})))


def resolve_device(name: str) -> str:
    """The device of that name; `auto` means cuda, else mps, else cpu. Raises UsageError where it is not here."""
    import torch

    here = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    here = (["cuda"] if here else []) + here + (["mps"] if torch.backends.mps.is_available() else []) + ["cpu"]
    if name == "auto":
        return here[0]
    if name not in here:
        raise UsageError(f"there is no device '{name}' here: choose {', '.join(['auto', *here])}")
    return name


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def _gpu(device: str) -> dict[str, str | None]:
    import torch

    return {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
