"""Runs with similarities of local descriptors: against brute force, recorded truly, each failure alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from bench.cli import app

PLUGIN = """
import torch

from bench.interfaces import Backbone, Descriptors, Preprocess, TRAINING_FREE, Weights
from bench.plugins import register_backbone


class Cells:
    n_parameters = None

    def describe(self, batch):
        cells = torch.nn.functional.avg_pool2d(batch.float(), 8).flatten(2).transpose(1, 2)
        return Descriptors(cells.mean(1), cells)


class CellsBackbone(Backbone):
    def load(self, device, weights_file):
        return Cells()


@register_backbone()
def cells() -> Backbone:
    squashed = Preprocess("squash", 32, None, "bilinear", None, None)
    return CellsBackbone("cells", "means of squares", 3, squashed, Weights(TRAINING_FREE, "", "none"))
"""
TOKENS = ("chunked@tokens", "chunked@tokens/2x2[norm=chunk]", "cross@tokens/2x2[norm=none]", "cross@tokens")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(small: Path, out: Path, similarities: str, *more: object, backbones: str = "cells") -> Result:
    (out.parent / "plugin.py").write_text(PLUGIN)
    chosen = ["--backbones", backbones, "--datasets", f"disc:{small}", "--similarities", similarities]
    options = ["--output", out, "--plugin", out.parent / "plugin.py", *more]
    return CliRunner().invoke(app, ["run", *chosen, *map(str, options)])


def records(out: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (out / "records").glob("*.json")]
    return {record["similarity"]["spec"]: record for record in found}


def cells_of(folder: Path) -> NDArray[np.float64]:
    """Cells [N, 16, 3] of the images of a folder, by name."""
    images = [
        Image.open(path).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR) for path in sorted(folder.iterdir())
    ]
    pixels = np.stack([np.asarray(image) for image in images]).astype(np.float64)
    return pixels.reshape(-1, 4, 8, 4, 8, 3).mean((2, 4)).reshape(-1, 16, 3)


def brute(spec: str, queries: NDArray[np.float64], database: NDArray[np.float64]) -> NDArray[np.float64]:
    """Similarities [Q, M] pair by pair."""

    def prepared(cells: NDArray[np.float64]) -> NDArray[np.float64]:
        if "/2x2" in spec:
            cells = cells.reshape(2, 2, 2, 2, 3).mean((1, 3)).reshape(4, 3)
        if "norm=none" in spec:
            return cells
        return cells / np.linalg.norm(cells, axis=1 if "norm=chunk" in spec else None, keepdims=True)

    q, x = ([prepared(cells) for cells in of] for of in (queries, database))
    return np.array([[(a @ b.T).max() if "cross" in spec else (a * b).sum(1).max() for b in x] for a in q])


def test_tokens_are_compared_as_by_brute_force(small: Path, tmp_path: Path) -> None:
    ran = run(small, tmp_path / "out", ",".join(("global", "chunked@3", *TOKENS)))
    assert ran.exit_code == 0, ran.output
    found = records(tmp_path / "out")
    assert set(found) == {"global", "chunked@3", *TOKENS}
    queries, database = cells_of(small / "queries"), cells_of(small / "references")
    for spec in TOKENS:
        scores = brute(spec, queries, database)[:6]  # query n is a copy of reference n, the last two have none
        own = scores[np.arange(6), np.arange(6)]
        ranks = 1 + (scores > own[:, None]).sum(1)
        assert found[spec]["metrics"]["mrr"] == pytest.approx((1 / ranks).mean()), spec
        assert found[spec]["metrics"]["hit@1"] == pytest.approx((ranks == 1).mean()), spec


def test_a_record_says_what_was_compared(small: Path, tmp_path: Path) -> None:
    run(small, tmp_path / "out", ",".join(("global[norm=none]", "chunked@3", *TOKENS)))
    found = records(tmp_path / "out")
    told = {spec: tuple(record["similarity"].values())[1:] for spec, record in found.items()}
    assert list(found["chunked@3"]["similarity"]) == [
        "spec",
        "kind",
        "descriptor",
        "chunks",
        "grid",
        "chunk_norm",
        "cross",
    ]
    assert told == {
        "global[norm=none]": ("global", "global", None, None, None, False),
        "chunked@3": ("chunked", "global", 3, None, "vector", False),
        "chunked@tokens": ("chunked", "local", None, None, "vector", False),
        "chunked@tokens/2x2[norm=chunk]": ("chunked", "local/2x2", None, [2, 2], "chunk", False),
        "cross@tokens/2x2[norm=none]": ("cross", "local/2x2", None, [2, 2], "none", True),
        "cross@tokens": ("cross", "local", None, None, "vector", True),
    }
    products = [spec for spec, record in found.items() if record["search"]["metric"] == "inner product"]
    assert sorted(products) == ["cross@tokens/2x2[norm=none]", "global[norm=none]"]
    assert sorted(spec for spec, record in found.items() if not record["postprocess"]["l2"]) == sorted(products)
    assert len({record["fingerprint"] for record in found.values()}) == len(found)


def test_the_same_command_computes_no_local_descriptor_again(small: Path, tmp_path: Path) -> None:
    run(small, tmp_path / "out", "global,chunked@tokens/2x2")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/records").glob("*.json")}
    assert run(small, tmp_path / "out", "global,chunked@tokens/2x2").exit_code == 0
    assert len(before) == 2
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out/records").glob("*.json")}


def test_a_backbone_without_local_descriptors_fails_those_cells_alone(small: Path, tmp_path: Path) -> None:
    ran = run(small, tmp_path / "out", "chunked@tokens,global", backbones="color")
    found = records(tmp_path / "out")
    assert ran.exit_code == 3 and found["global"]["status"] == "ok"
    error = found["chunked@tokens"]["error"]
    assert error["phase"] == "extract" and "the backbone has no local descriptors" in error["message"]


def test_a_grid_larger_than_the_map_is_told(small: Path, tmp_path: Path) -> None:
    assert run(small, tmp_path / "out", "cross@tokens/7x7").exit_code == 3
    error = records(tmp_path / "out")["cross@tokens/7x7"]["error"]
    assert "is 4 x 4, which can't be averaged to 7 x 7" in error["message"]


@pytest.mark.parametrize("steps", [("--postprocess", "l2"), ("--postprocess", "pca2", "--background", "BACKGROUND")])
def test_post_processing_of_tokens_is_refused_before_anything_is_made(
    steps: tuple[str, ...], small: Path, tmp_path: Path
) -> None:
    options = [str(small / "references") if option == "BACKGROUND" else option for option in steps]
    ran = run(small, tmp_path / "out", "global,chunked@tokens", *options)
    told = f"--postprocess {steps[1]} is of global descriptors, chunked@tokens compares local ones"
    assert told in str(ran.exception) and not (tmp_path / "out").exists()
