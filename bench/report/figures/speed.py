"""Speeds of the backbones on one device."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.errors import UsageError
from bench.records import Record
from bench.report.tables import images_per_s
from bench.throughput.folder import TABLE

_FORWARD = "forward_images_per_s_median"


@dataclass(frozen=True)
class Speeds:
    """Images per second by backbone. what: how they were measured. device: the one machine that measured them."""

    images_per_s: Mapping[str, float]
    what: str
    device: str


def speeds(folder: Path, records: Iterable[Record]) -> Speeds | None:
    """Those of the folder's throughput.csv, or else those that the run met; None where there are none.

    Speeds of several devices are not comparable: the device with the most backbones is taken, of the table also one
    batch size, the largest of those with most backbones. Raises UsageError for a table that is none.
    """
    path = folder / TABLE
    return (_of_table(path) if path.exists() else None) or _of_records(records)


def _of_table(path: Path) -> Speeds | None:
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(("backbone", "device", "cpu", "gpu"), "str"))
        rows = table[(table["precision"] == "fp32") & (table["batch_size"] > 1) & table[_FORWARD].notna()]
        machines = rows["gpu"].fillna(rows["cpu"]) + " (" + rows["device"] + ")"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"the file {path} is no table of `throughput` ({error}): delete it or make it again"
        ) from error
    if rows.empty:
        return None
    keys = list(zip(rows["batch_size"].tolist(), machines.tolist(), strict=True))
    backbones = {key: {name for name, of in zip(rows["backbone"], keys, strict=True) if of == key} for key in keys}
    batch_size, device = max(backbones, key=lambda key: (len(backbones[key]), *key))
    chosen = rows[[key == (batch_size, device) for key in keys]]
    fastest = chosen.groupby("backbone")[_FORWARD].max()
    what = f"forward pass, fp32, batches of {batch_size}"
    return Speeds({str(name): float(speed) for name, speed in fastest.items()}, what, device)


def _of_records(records: Iterable[Record]) -> Speeds | None:
    by_device: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        if record.body["throughput"]:
            hardware = record.body["hardware"]
            device = f"{hardware['gpu'] or hardware['cpu']} ({hardware['device']})"
            by_device.setdefault(device, {}).setdefault(record.cell.backbone, []).append(record)
    if not by_device:
        return None
    device = max(by_device, key=lambda name: (len(by_device[name]), name))
    found = {backbone: speed for backbone, of in by_device[device].items() if (speed := images_per_s(of)) is not None}
    return Speeds(found, "extraction with decoding", device)
