"""A Ray cluster: found or started, what it has, and what its failures mean."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.errors import BenchError, UsageError

#: How often a task is given to another worker, or a worker started anew, after one has died.
RETRIES = 3
#: Seconds that a cluster's head may take to answer.
PATIENCE = 10


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to, and how many cores and GPUs all its nodes have."""

    cpus: int
    gpus: int

    def workers(self, device: str) -> int:
        """How many workers can compute on a device of that kind at once. Raises UsageError where none can."""
        on_gpu = device.startswith("cuda")
        n = min(self.cpus, self.gpus) if on_gpu else self.cpus
        if n < 1:
            what = "GPU and CPU core for each worker" if on_gpu else "CPU core"
            raise UsageError(
                f"the Ray cluster has {self.cpus} CPU cores and {self.gpus} GPUs, but {device} takes a {what}: start "
                f"nodes that have them, or choose another --device"
            )
        return n


@dataclass(frozen=True)
class Engine:
    """What does the work. address: HOST:PORT of a cluster's head; None for the one that runs here, or a new one."""

    on_ray: bool = False
    address: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Engine":
        """`local`, `ray` or `ray:HOST:PORT`. Raises UsageError for anything else."""
        name, colon, address = text.strip().partition(":")
        host, _, port = address.rpartition(":")
        if (name, colon) == ("local", ""):
            return cls()
        if name == "ray" and (not colon or (host and "/" not in host and port.isdecimal() and int(port) < 2**16)):
            return cls(True, address or None)
        raise UsageError(f"there is no engine '{text}': write local, ray or ray:HOST:PORT")

    def __str__(self) -> str:
        return "local" if not self.on_ray else "ray" if self.address is None else f"ray:{self.address}"

    @contextmanager
    def connected(self) -> Iterator[Cluster | None]:
        """The cluster for the time of the block; None where this process does the work.

        What is started here ends with the block. Raises UsageError where Ray is not installed or no cluster answers.
        """
        if not self.on_ray:
            yield None
            return
        ray = _ray()
        started = not ray.is_initialized()
        if started:
            _connect(ray, self.address)
        try:
            has = ray.cluster_resources()
            yield Cluster(int(has.get("CPU", 0)), int(has.get("GPU", 0)))
        finally:
            if started:
                ray.shutdown()


def _ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is reported to anyone
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what goes wrong is told in sentences
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'ray[data]', or this project's extra 'ray'") from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


def _connect(ray: Any, address: str | None) -> None:
    address = address or os.environ.get("RAY_ADDRESS") or None
    host, _, port = (address or "").rpartition(":")
    try:
        if port.isdecimal():
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()  # Ray itself tries for minutes
        new = {"include_dashboard": False} if address is None else {}
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **new)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:  # it exits where what answers is no head
        why = "what answers there is no Ray head" if isinstance(error, SystemExit) else _first_line(error)
        raise UsageError(
            f"no Ray cluster can be used at {address or 'this machine'} ({why}): start one by 'ray "
            "start --head', and this command on one of its nodes"
        ) from error


def told(error: BaseException) -> BenchError:
    """What an exception of Ray means: the worker's own sentence, or that workers died."""
    from ray.exceptions import RayTaskError

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BenchError):
            return seen.cause if isinstance(seen, RayTaskError) else seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    return BenchError(
        f"a part of the work failed on the Ray cluster, {RETRIES + 1} times where a worker died "
        f"({type(error).__name__}: {_first_line(error)}): look at its nodes' memory and logs, and run again"
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
