"""Times the cells of a plan: each in a fresh process, what fails fails alone, and every cell leaves a record."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import cells, provenance
from bench.cells import Failure
from bench.describe import Loading, obtain
from bench.errors import UsageError, WeightsUnavailable
from bench.files import sha256_text
from bench.interfaces import Backbone
from bench.plugins import ROOT, Selected
from bench.throughput import photographs
from bench.throughput.folder import SCHEMA_VERSION, TimingFolder, TimingRecord
from bench.throughput.machine import governor, watch_others
from bench.throughput.plan import Cell, Request, Settings, config_of, in_precision
from bench.weights import WeightsStore

#: Whose version changes what is measured, beside those of every descriptor.
PACKAGES = ("numba", "scikit-image")


class Timing:
    """A configured timing over a folder; `execute` brings every cell's record up to date.

    selection, plugins: what `backbones` were chosen from, since a fresh process chooses them again.
    """

    def __init__(
        self,
        backbones: Iterable[Selected[Backbone]],
        settings: Settings,
        weights: WeightsStore,
        folder: TimingFolder,
        selection: str,
        plugins: Iterable[Path],
        argv: list[str],
    ) -> None:
        self.backbones = {chosen.item.name: chosen for chosen in backbones}
        self.settings = settings
        self.weights = weights
        self.folder = folder
        self.selection = selection
        self.plugins = [str(file) for file in plugins]
        self.argv = argv

    def execute(self, plan: Sequence[Cell], on_progress: Callable[[int, int], Any]) -> list[TimingRecord]:
        """The records of the plan's cells, those that were there already among them."""
        if self.settings.weights == "pretrained":
            self.weights.probe(chosen.item.weights for chosen in self.backbones.values())
        made: list[TimingRecord] = []
        with TemporaryDirectory() as place:
            files = [str(file) for file in photographs.write(Path(place))]
            for cell in plan:
                on_progress(len(made), len(plan))
                made.append(self._settled(cell, files))
            on_progress(len(made), len(plan))
        self.folder.write_table()
        return made

    def _settled(self, cell: Cell, files: list[str]) -> TimingRecord:
        """The cell's record, which is kept where measuring again would measure the same."""
        chosen, loading = self._obtained(cell)
        named = asdict(cell) | {"weights": cells.weights_kind(chosen.item, config_of(cell, self.settings))}
        before = self.folder.find(named)
        if before is not None and before["status"] == "ok":
            # where the weights have gone since, what was measured with them counts
            sha256 = before["backbone"]["weights_sha256"] if isinstance(loading, Failure) else loading.sha256
            if before["fingerprint"] == self._fingerprint(cell, chosen, sha256):
                return before
        record = self._record(cell, named, chosen, loading, files)
        self.folder.write(record)
        return record

    def _obtained(self, cell: Cell) -> tuple[Selected[Backbone], Loading | Failure]:
        """The backbone, in the cell's precision if it has it, and with its weights if they can be had."""
        chosen = self.backbones[cell.backbone]
        try:
            chosen = replace(chosen, item=in_precision(chosen.item, cell.precision))
        except UsageError as error:
            return chosen, Failure("unavailable", "precision", type(error).__name__, str(error))
        try:
            loading = obtain(chosen, config_of(cell, self.settings), self.weights)
        except WeightsUnavailable as error:
            return chosen, Failure("unavailable", "weights", type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - one failing cell never stops the others; its record says why
            return chosen, Failure("failed", "weights", type(error).__name__, str(error) or type(error).__name__)
        return loading.chosen, loading

    def _record(
        self,
        cell: Cell,
        named: Mapping[str, Any],
        chosen: Selected[Backbone],
        loading: Loading | Failure,
        files: list[str],
    ) -> TimingRecord:
        outcome = loading if isinstance(loading, Failure) else self._measured(cell, loading, files)
        failure = outcome if isinstance(outcome, Failure) else None
        backbone = chosen.item
        source, sha256 = (None, None) if isinstance(loading, Failure) else (loading.source, loading.sha256)
        return {
            "schema_version": SCHEMA_VERSION,
            "status": failure.status if failure else "ok",
            "error": asdict(failure) if failure else None,
            "fingerprint": None if failure else self._fingerprint(cell, chosen, sha256),
            "created_utc": provenance.now(),
            "cell": named,
            "backbone": {
                "arch": backbone.arch,
                "licence": backbone.weights.licence,
                "non_commercial": backbone.weights.non_commercial,
                "weights_url": source or backbone.weights.source,
                "weights_sha256": sha256,
            },
            "preprocess": asdict(backbone.preprocess),
            "settings": asdict(self.settings),
            "measured": None if failure else outcome,
            "governor": governor(),
            "hardware": provenance.hardware(cell.device),
            "packages": provenance.versions((*provenance.PACKAGES, *PACKAGES, *backbone.packages)),
            "git": provenance.git(),
            "argv": self.argv,
        }

    def _fingerprint(self, cell: Cell, chosen: Selected[Backbone], weights_sha256: str | None) -> str:
        """Hash of everything that decides what is measured, the machine among it."""
        key = cells.descriptor_key(chosen, config_of(cell, self.settings), weights_sha256, "")
        bench = ROOT / "bench"
        code = provenance.code_hash([*(bench / "throughput").glob("*.py"), *(bench / "similarity").glob("*.py")])
        where = provenance.hardware(cell.device), provenance.versions(PACKAGES), code
        return sha256_text(json.dumps([SCHEMA_VERSION, key, asdict(cell), asdict(self.settings), *where]))

    def _measured(self, cell: Cell, loading: Loading, files: list[str]) -> dict[str, Any] | Failure:
        weights_file = None if loading.file is None else str(loading.file)
        return ask(Request(cell, self.settings, self.selection, self.plugins, weights_file, files))


def ask(request: Request) -> dict[str, Any] | Failure:
    """What a fresh process measures, with what else the machine did meanwhile; or why it does not."""
    others = watch_others()
    with TemporaryDirectory() as place:
        result = Path(place) / "result.json"
        ended = subprocess.run(
            [sys.executable, "-m", "bench.throughput.worker", str(result)],
            input=json.dumps(asdict(request)),
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if not result.is_file():
            return gone(ended.returncode, ended.stderr)
        outcome = json.loads(result.read_text(encoding="utf-8"))
    if "error" in outcome:
        return Failure("failed", "measure", outcome["error"]["type"], outcome["error"]["message"])
    return {**outcome["measured"], "cores_busy_elsewhere": others()}


def gone(code: int, stderr: str) -> Failure:
    """Why a process that ended with `code` left nothing."""
    if code < 0:
        name = signal.Signals(-code).name
        likely = ", as the system does where memory runs out: give a smaller batch size" if name == "SIGKILL" else ""
        return Failure("failed", "measure", "Killed", f"the process was killed by {name}{likely}")
    lines = stderr.strip().splitlines() or ["it says nothing"]
    return Failure("failed", "measure", "Ended", f"the process ended with exit code {code}: {lines[-1]}")
