"""What a run may change: preprocessing, post-processing with its background, options of a backbone."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UsageError
from bench.evaluate import evaluate
from bench.plugins import datasets
from bench.similarity import Similarity

SIMILARITIES = ("--similarities", "global,chunked@4")


def run(small: Path, out: Path, *more: object, backbones: str = "color") -> Result:
    arguments = ["run", "--backbones", backbones, "--datasets", f"disc:{small}", "--output", out, *SIMILARITIES, *more]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((out / "records").glob("*.json"))]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own: what other tests find in theirs was then made by themselves."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def background(tmp_path: Path, photo: Path) -> Path:
    """Thirty tiles of another photograph."""
    from PIL import Image

    folder = tmp_path / "background"
    folder.mkdir()
    image = Image.open(photo.with_name("coffee.png")).convert("RGB")
    for number in range(30):
        x, y = 90 * (number % 6), 70 * (number // 6)
        image.crop((x, y, x + 90, y + 70)).save(folder / f"{number:02d}.png")
    return folder


def test_post_processing_is_fitted_on_the_background_and_recorded(
    small: Path, background: Path, tmp_path: Path
) -> None:
    options = ("--postprocess", "center,pcaw16,l2,sn0.5[0,2]", "--background", background)
    ran = run(small, tmp_path / "out", *options)
    assert ran.exit_code == 0, ran.output
    for record in records(tmp_path / "out"):
        assert record["postprocess"] == {
            "spec": "center,pcaw16,l2,sn0.5[0,2]",
            "l2": True,
            "pca_dim": 16,
            "whiten": True,
            "score_norm": "sn0.5[0,2]",
            "fit_set": str(background.resolve()),
        }
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/records").glob("*.json")}
    assert run(small, tmp_path / "out", *options).exit_code == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out/records").glob("*.json")}


def test_the_scores_are_those_of_vectors_whitened_by_hand(
    small: Path, background: Path, tmp_path: Path, own_home: Path
) -> None:
    ran = run(small, tmp_path / "out", "--postprocess", "pcaw16,l2", "--background", background)
    assert ran.exit_code == 0, ran.output
    stored = [np.load(path) for path in (own_home / "descriptors").glob("*/img_emb/*.npy")]
    fitted, own = sorted(stored, key=len, reverse=True)
    assert len(fitted) == 30
    mean = fitted.astype(float).mean(0)
    _, singular, axes = np.linalg.svd(fitted - mean, full_matrices=False)
    white = ((own - mean) @ axes[:16].T / (singular[:16] / np.sqrt(29))).astype(np.float32)
    split = datasets.select(f"disc:{small}")[0].item.load()
    queries, database = white[len(split.database) :], white[: len(split.database)]
    for record in records(tmp_path / "out"):
        similarity = Similarity.parse(record["similarity"]["spec"])
        expected = evaluate(queries, database, split, ("map", "micro_ap"), similarity).scores
        assert record["metrics"]["map"] == pytest.approx(expected["map"].value, abs=1e-9)
        assert record["metrics"]["micro_ap"] == pytest.approx(expected["micro_ap"].value, abs=1e-9)


def test_a_background_that_holds_an_image_of_the_test_fails_the_cells(
    small: Path, background: Path, tmp_path: Path
) -> None:
    shutil.copy(small / "references/r03.png", background / "innocent.png")
    ran = run(small, tmp_path / "out", "--postprocess", "center", "--background", background)
    assert ran.exit_code == 3
    for record in records(tmp_path / "out"):
        assert record["status"] == "failed" and record["error"]["phase"] == "background"
        assert "is also in the background" in record["error"]["message"]


def test_a_fit_of_too_few_images_fails_the_cells(small: Path, background: Path, tmp_path: Path) -> None:
    ran = run(small, tmp_path / "out", "--postprocess", "pcaw64", "--background", background)
    assert ran.exit_code == 3
    assert {r["error"]["phase"] for r in records(tmp_path / "out")} == {"background"}
    assert all("but there are 30" in r["error"]["message"] for r in records(tmp_path / "out"))


def test_chunks_must_divide_what_the_projection_keeps(small: Path, background: Path, tmp_path: Path) -> None:
    ran = run(small, tmp_path / "out", "--postprocess", "pca6", "--background", background)
    assert ran.exit_code == 3
    told = {r["similarity"]["spec"]: r["error"] and r["error"]["message"] for r in records(tmp_path / "out")}
    assert told["global"] is None and "can't cut 6 dimensions" in told["chunked@4"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--postprocess", "pcaw16,l2"), "name them by --background"),
        (("--background", "demo_retrieval"), "is used by nothing"),
        (("--postprocess", "l2", "--background", "demo_retrieval"), "is used by nothing"),
        (("--postprocess", "pca", "--background", "demo_retrieval"), "no post-processing step 'pca'"),
        (("--preprocess", "square:20"), "no preprocessing 'square:20'"),
    ],
)
def test_wrong_calls_are_told(options: tuple[str, ...], told: str, small: Path, tmp_path: Path) -> None:
    ran = run(small, tmp_path / "out", *options)
    assert isinstance(ran.exception, UsageError) and told in str(ran.exception)
    assert not (tmp_path / "out").exists()


def test_post_processing_without_a_fit_needs_no_background(small: Path, tmp_path: Path) -> None:
    assert run(small, tmp_path / "plain").exit_code == 0
    assert run(small, tmp_path / "out", "--postprocess", "l2").exit_code == 0
    scores = [pd.read_csv(tmp_path / name / "scores.csv")["value"] for name in ("plain", "out")]
    assert np.allclose(*scores, equal_nan=True)


def test_preprocessing_is_recorded_and_the_descriptors_are_others(small: Path, tmp_path: Path) -> None:
    for mode in ("official", "letterbox:96"):
        ran = run(
            small, tmp_path / mode, "--preprocess", mode, "--weights", "random", backbones="efficientnet_lite0,dhash"
        )
        assert ran.exit_code == 0, ran.output
    of = {
        (mode, record["backbone"]["name"], record["similarity"]["spec"]): record
        for mode in ("official", "letterbox:96")
        for record in records(tmp_path / mode)
    }
    changed = of["letterbox:96", "efficientnet_lite0", "global"]["preprocess"]
    assert (changed["mode"], changed["resize"], changed["size"], changed["crop"]) == (
        "letterbox:96",
        "letterbox",
        96,
        None,
    )
    assert of["letterbox:96", "dhash", "global"]["preprocess"]["resize"] == "none"
    official, boxed = (of[m, "efficientnet_lite0", "global"]["metrics"] for m in ("official", "letterbox:96"))
    assert official != boxed
    assert of["official", "dhash", "global"]["metrics"] == of["letterbox:96", "dhash", "global"]["metrics"]


def test_options_of_a_backbone_are_rows_of_their_own(small: Path, tmp_path: Path) -> None:
    selection = "efficientnet_lite0,efficientnet_lite0[precision=bf16],efficientnet_lite0[gem=3,multiscale=yes]"
    ran = run(small, tmp_path / "out", "--batch-size", 4, backbones=selection)
    assert ran.exit_code == 0, ran.output
    board = pd.read_csv(tmp_path / "out/leaderboard.csv")
    board = board[board["similarity"] == "global"].set_index("backbone")
    assert set(board.index) == {
        "efficientnet_lite0",
        "efficientnet_lite0[precision=bf16]",
        "efficientnet_lite0[multiscale=yes,gem=3]",
    }
    precisions = {r["backbone"]["name"]: r["precision"] for r in records(tmp_path / "out")}
    assert sorted(precisions.values()) == ["bf16", "fp32", "fp32"]
    assert precisions["efficientnet_lite0[precision=bf16]"] == "bf16"
    assert board["mean_map"].loc["efficientnet_lite0[precision=bf16]"] == pytest.approx(
        board["mean_map"].loc["efficientnet_lite0"], abs=0.05
    )
