"""The fresh process: `python -m bench.throughput.worker RESULT`, a request as JSON on stdin, its outcome in a file."""

import json
import os
import sys
import time
from pathlib import Path
from threading import Thread
from typing import IO, Any

from bench.files import write_json
from bench.throughput.plan import Cell, Request, Settings


def read(stream: IO[str]) -> Request:
    """The request that was written as JSON."""
    told = json.load(stream)
    return Request(**told | {"cell": Cell(**told["cell"]), "settings": Settings(**told["settings"])})


def main() -> None:
    """Write {"measured": ...}, or {"error": {"type", "message"}} where the cell can't be measured."""
    from bench.throughput.measure import measure

    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    request = read(sys.stdin)
    try:
        outcome: dict[str, Any] = {"measured": measure(request)}
    except Exception as error:  # noqa: BLE001 - whatever a plugin or an allocator raises is a row with an error
        lines = str(error).strip().splitlines()
        outcome = {"error": {"type": type(error).__name__, "message": lines[0] if lines else type(error).__name__}}
    write_json(Path(sys.argv[1]), outcome)


def _end_with(parent: int) -> None:
    """End where the process that asks was killed: nobody waits for what is measured."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
