"""What an audit finds of the copies that `make synthetic` planted.

Run with `python -m tests.benchmarks.planted SET... --output results/benchmarks/audit_planted.json`, each SET a folder
that `make synthetic` made: its queries are audited as generated images, its references as training images.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from bench import provenance
from bench.files import write_json
from bench.interfaces import ImageFile
from datasets.synthetic._pictures import alpha_of
from tests.conftest import ROOT
from tests.planted import Box, Plant, first_matches, fractions, hits, meetings

BACKBONE = "efficientnet_lite0"
SIMILARITIES = ("global", "chunked@16", "chunked@tokens", "cross@tokens")
THRESHOLD = "fpr:1e-3"
#: Kinds whose copied part is a box, or an object in one; what is kept of the others has another form.
IN_BOXES = ("cutmix", "outpaint_patch", "segmix")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET")
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in asked.sets]
    rows = [row for folder, told in zip(asked.sets, manifests, strict=True) for row in measured(folder, told)]
    record = {
        "what": "queries of synthetic sets audited against their database: copies of known images, and queries without "
        "a match. found: the nearest is the original; found_above: and above the threshold; false_alarms: queries "
        "without a match that are above it. Of the regions of what was found: the share whose middle lies in what was "
        "pasted (generated) and in where it came from (training), the share of pairs that show the same spot to a "
        "region's size (meet), and each of other images' regions in the same boxes (by_chance)",
        "command": f"python -m tests.benchmarks.planted {' '.join(map(str, asked.sets))} --output {asked.output}",
        "backbone": BACKBONE,
        "threshold": THRESHOLD,
        "audit_seed": 0,
        "sets": {told["kind"]: {name: told[name] for name in ("seed", "source", "parameters")} for told in manifests},
        "hardware": provenance.hardware("cpu"),
        "packages": provenance.versions(provenance.PACKAGES),
        "git": provenance.git(),
        "finished": provenance.now(),
        "rows": rows,
    }
    write_json(asked.output, record)
    print(*(line(row) for row in rows if row["area"] == "all"), sep="\n")


def line(row: Mapping[str, Any]) -> str:
    """A row as docs/replication.md has it."""
    found, above = (f"{row[name]} ({100 * row[name] / row['copies']:.1f})" for name in ("found", "found_above"))
    alarms = f"{row['false_alarms']} of {row['without_a_match']}"
    meet = row["regions"] and row["regions"]["meet"]
    spot = f"{100 * meet['share']:.1f} ({100 * meet['by_chance']:.1f})" if meet else ""
    return f"| {row['kind']} | {row['similarity']} | {row['copies']} | {found} | {above} | {alarms} | {spot} |"


def measured(folder: Path, manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each similarity and copied share of a set, and one for all shares."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        command = ["--generated", str(folder / "queries"), "--training", str(folder / "references")]
        command += ["--backbones", BACKBONE, "--similarities", ",".join(SIMILARITIES), "--threshold", THRESHOLD]
        command += ["--device", "cpu", "--output", str(out)]
        subprocess.run([sys.executable, "-m", "bench", "audit", *command], cwd=ROOT, check=True)
        matches = first_matches(out, planted(folder, manifest))
        verdicts = json.loads((out / "summary.json").read_text())["verdicts"]
    matches["area"] = matches["generated_id"].str.extract(r"_([\d.]+)\.jpg$", expand=False).astype(float)
    scores = {of["similarity"]: of["above"][-1]["score"] for of in verdicts}
    for similarity, table in matches.groupby("similarity", sort=False):
        parts = [("all", table), *table.groupby("area")]
        for area, part in parts:
            head = {"kind": manifest["kind"], "similarity": similarity, "area": area, "score": scores[similarity]}
            yield head | counted(part, scores[similarity])


def planted(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Plant]:
    """The truth of a set by the query's id."""
    with (folder / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = {}
    for row in rows:
        original = row["reference"] and Path(row["reference"]).name
        boxes = places(folder, row, manifest) if original and row["kind"] in IN_BOXES else ()
        found[Path(row["query"]).name] = Plant(row["kind"], original or None, *boxes)
    return found


def places(folder: Path, row: Mapping[str, str], manifest: Mapping[str, Any]) -> tuple[Box, Box]:
    """Where what was copied stands in a query, and in its original."""
    pasted = fractions(_numbers(row["box"]), Image.open(folder / row["query"]).size)
    if row["kind"] == "outpaint_patch":
        return pasted, pasted
    if row["kind"] == "cutmix":
        return pasted, fractions(_numbers(row["transformation"][5:]), Image.open(folder / row["reference"]).size)
    alpha = alpha_of(ImageFile(row["original"], Path(manifest["source"]["identity"]) / row["original"]))
    assert alpha is not None
    return pasted, fractions(alpha.getbbox() or (), alpha.size)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split()))


def counted(table: pd.DataFrame, score: float) -> dict[str, Any]:
    """What came of some queries by one similarity; None for regions that are not known."""
    is_above, is_copy = table["score"] > score, table["is_copy"]
    found = table[table["is_found"]]
    told: dict[str, Any] = {
        "copies": int(is_copy.sum()),
        "found": len(found),
        "found_above": int((table["is_found"] & is_above).sum()),
        "without_a_match": int((~is_copy).sum()),
        "false_alarms": int((~is_copy & is_above).sum()),
        "regions": None,
    }
    if len(found) < 2 or found["pasted"].isna().all() or found["generated_left"].isna().all():
        return told
    shares = {
        "generated": hits(found, "generated", "pasted"),
        "training": hits(found, "training", "origin"),
        "meet": meetings(found),
    }
    named = {name: {"share": share, "by_chance": chance} for name, (share, chance) in shares.items()}
    return told | {"regions": {"n": len(found), **named}}


if __name__ == "__main__":
    main()
