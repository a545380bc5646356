"""`throughput`: arguments and printing of what times backbones."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli_options import (
    WORKERS,
    AllowCode,
    Device,
    Offline,
    Plugins,
    WeightsChoice,
    WeightsDir,
    Workers,
    load_plugins,
)
from bench.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What the console shows, and to how many digits.
SHOWN = {
    "backbone": None,
    "weights": None,
    "precision": None,
    "batch_size": None,
    "forward_images_per_s_median": 1,
    "forward_images_per_s_iqr": 1,
    "decode_forward_images_per_s_median": 1,
    "latency_ms_median": 1,
    "latency_ms_p95": 1,
    "params_m": 2,
    "gmacs": 2,
    "peak_rss_mb": 0,
    "descriptor_bytes": None,
    "search_1m_s": 3,
}
#: Cores that other processes may keep busy while a cell is measured.
QUIET = 0.1


def throughput(
    backbones: Annotated[str, typer.Option(help="As `run --backbones` takes them.")] = "all",
    batch_sizes: Annotated[
        str, typer.Option(help="Images per forward pass, with commas; never made smaller.")
    ] = "1,32",
    precisions: Annotated[str, typer.Option(help="Some of fp32, bf16, fp16, with commas.")] = "fp32",
    device: Device = "auto",
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of each measurement.")] = 20,
    warmup: Annotated[int, typer.Option(min=1, help="Rounds before them, kept apart.")] = 3,
    workers: Workers = WORKERS,
    weights: Annotated[
        WeightsChoice, typer.Option(help="random: as fast, no file is needed; labelled.")
    ] = WeightsChoice.pretrained,
    output: Annotated[
        Path | None, typer.Option(help="Folder of records and table.  [default: results/throughput]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Measure everything anew.")] = False,
    weights_dir: WeightsDir = None,
    allow_code: AllowCode = False,
    offline: Offline = False,
    plugin: Plugins = None,
) -> None:
    """Time backbones, each cell in a fresh process; goes on where an earlier call of the same machine stopped."""
    from bench import console, plugins, provenance
    from bench.throughput.folder import TimingFolder
    from bench.throughput.plan import Settings, parse_batch_sizes, parse_precisions, plan, require_no_precision
    from bench.throughput.run import Timing
    from bench.weights import Network, WeightsStore

    load_plugins(plugin)
    sizes, wanted = parse_batch_sizes(batch_sizes), parse_precisions(precisions)
    chosen = plugins.backbones.select(backbones)
    require_no_precision(c.item for c in chosen)
    store = WeightsStore(Network(offline), weights_dir, allow_code)
    on = provenance.resolve_device(device)
    settings = Settings(rounds, warmup, workers, weights.value)
    place = output or Path(os.path.relpath(plugins.ROOT / "results" / "throughput"))
    cells = plan([c.item.name for c in chosen], on, wanted, sizes)
    try:
        with (
            TimingFolder.open(place, provenance.hardware(on), overwrite) as folder,
            console.counting("cells") as progress,
        ):
            timing = Timing(chosen, settings, store, folder, backbones, plugin or [], ["bench", *sys.argv[1:]])
            made = timing.execute(cells, progress)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what is measured is kept, and the same command goes on") from None
    _print(made, folder.table)
    explicit = {c.item.name for c in chosen if c.explicit}
    if any(
        r["status"] == "failed" or (r["status"] == "unavailable" and r["cell"]["backbone"] in explicit) for r in made
    ):
        raise typer.Exit(3)


def _print(records: "Sequence[Mapping[str, Any]]", table: Path) -> None:
    """The figures, then why other cells have none."""
    from bench import console
    from bench.throughput.table import rows

    measured = [record for record in records if record["status"] == "ok"]
    if measured:
        console.print_rows([{name: _shown(row[name], n) for name, n in SHOWN.items()} for row in rows(measured)])
    for reason, names in _missing(records).items():
        console.out.print(f"{'; '.join(names)}: {reason}", soft_wrap=True)
    if disturbed := sum((record["measured"]["cores_busy_elsewhere"] or 0) > QUIET for record in measured):
        note = f"{disturbed} cells were measured while other processes kept over {QUIET} cores busy: not to be compared"
        console.out.print(note, soft_wrap=True)
    console.out.print(f"{len(measured)} of {len(records)} cells were measured; written: {table}", soft_wrap=True)


def _missing(records: "Sequence[Mapping[str, Any]]") -> dict[str, list[str]]:
    """Reason -> the cells that have no figures because of it, or the backbones where it is one of their weights."""
    found: dict[str, list[str]] = {}
    for record in records:
        if error := record["error"]:
            cell = record["cell"]
            whole = error["phase"] == "weights"
            name = cell["backbone"] + ("" if whole else f", {cell['precision']}, batches of {cell['batch_size']}")
            names = found.setdefault(f"{record['status']}: {error['message']}", [])
            if name not in names:
                names.append(name)
    return found


def _shown(value: Any, digits: int | None) -> Any:
    return value if digits is None or value is None else f"{value:,.{digits}f}"
