"""What an audit does with input that can't be used: one sentence, an exit code, and nothing written."""

import json
import resource
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import BenchError, told

N_GENERATED, N_TRAINING = 3, 8


@pytest.fixture
def sides(photo: Path, tmp_path: Path) -> Path:
    """generated/ and training/: tiles of a photograph; descriptors of as many in files of both names."""
    image = Image.open(photo).convert("RGB")
    rng = np.random.default_rng(0)
    for side, n in (("generated", N_GENERATED), ("training", N_TRAINING)):
        (tmp_path / side).mkdir()
        for number in range(n):
            left, top = 45 * number, 20 * number
            image.crop((left, top, left + 90, top + 90)).save(tmp_path / side / f"{number}.png")
        np.save(tmp_path / f"{side}.npy", rng.normal(size=(n, 8)).astype(np.float32))
    return tmp_path


def audit(sides: Path, *options: object, generated: object = "generated", training: object = "training") -> Result:
    """The command by dhash, with an output in the folder; a side that is no path lies in the folder, too."""
    chosen = ["--generated", f"{sides}/{generated}", "--training", f"{sides}/{training}", "--backbones", "dhash"]
    fixed = ["--similarities", "global", "--top-k", "2", "--output", str(sides / "out")]
    return CliRunner().invoke(app, ["audit", *chosen, *fixed, *map(str, options)])


def refused(ran: Result, sides: Path) -> str:
    """The sentence of a call that is refused before anything is written."""
    assert isinstance(ran.exception, BenchError) and ran.exception.exit_code == 2, ran.output + str(ran.exception)
    assert not (sides / "out").exists() and "\n" not in str(ran.exception)
    return str(ran.exception)


def failed(ran: Result, sides: Path) -> str:
    """What is told of the one backbone and similarity that came to nothing."""
    assert ran.exit_code == 3 and not (sides / "out").exists(), ran.output + str(ran.exception)
    return " ".join(ran.output.split())


@pytest.mark.parametrize("side", ["generated", "training"])
def test_folders_without_an_image(side: str, sides: Path) -> None:
    (sides / "empty").mkdir()
    assert f"{sides / 'empty'} holds no images" in refused(audit(sides, **{side: "empty"}), sides)
    (sides / "bad").mkdir()
    for name in ("a.png", "b.jpg"):
        (sides / "bad" / name).write_text("no image")
    sentence = refused(audit(sides, **{side: "bad"}), sides)
    assert sentence.startswith("none of 2 images can be read: the image ") and f"{sides}/bad/a.png" in sentence


@pytest.mark.parametrize("spelled", ["training", "training/", "./generated/../training", "link"])
def test_the_same_folder_in_another_spelling_is_one_set(spelled: str, sides: Path) -> None:
    (sides / "link").symlink_to(sides / "training")
    ran = audit(sides, generated=spelled)
    assert ran.exit_code == 0 and "both sides are the same images: none matches itself" in ran.output, ran.output
    require_no_self_match(sides, N_TRAINING)


def test_the_same_shard_by_another_name_is_one_set(sides: Path) -> None:
    with tarfile.open(sides / "training.tar", "w") as shard:
        shard.add(sides / "training", ".")
    (sides / "link.tar").symlink_to(sides / "training.tar")
    ran = audit(sides, generated="link.tar", training="training.tar")
    assert ran.exit_code == 0 and "both sides are the same images: none matches itself" in ran.output, ran.output
    require_no_self_match(sides, N_TRAINING)


@pytest.mark.parametrize("spelled", ["training.npy", "./training.npy", "link.npy"])
def test_the_same_descriptors_in_another_spelling_are_one_set(spelled: str, sides: Path) -> None:
    (sides / "link.npy").symlink_to(sides / "training.npy")
    ran = audit(sides, generated=spelled, training="training.npy")
    assert ran.exit_code == 0 and "both sides are the same images: none matches itself" in ran.output, ran.output
    require_no_self_match(sides, N_TRAINING)


def require_no_self_match(sides: Path, n: int) -> None:
    summary = json.loads((sides / "out/summary.json").read_text())
    assert summary["is_self"] and summary["verdicts"][0]["background"] is None
    table = pd.read_csv(sides / "out/matches.csv")
    assert len(table) == 2 * n and (table["generated"] != table["training"]).all() and table["score"].max() < 0.999


def test_one_training_image_is_not_enough(sides: Path) -> None:
    for number in range(1, N_TRAINING):
        (sides / f"training/{number}.png").unlink()
    assert "all training images are the same: name a folder that holds several" in failed(
        audit(sides, "--top-k", 1), sides
    )


def test_more_matches_than_training_images(sides: Path) -> None:
    for side, form in (("training", "generated"), ("training.npy", "generated.npy")):
        ran = audit(sides, "--top-k", N_TRAINING + 1, training=side, generated=form)
        assert f"--top-k is {N_TRAINING + 1}, but there are {N_TRAINING} training images" in refused(ran, sides)
    ran = audit(sides, "--top-k", 0)
    assert ran.exit_code == 2 and "Invalid value for '--top-k'" in ran.output and not (sides / "out").exists()


@pytest.mark.parametrize("text", ["nonsense", "fpr:2", "fpr:0", "fpr:x", "", "nan", "0.5,,0.6", "fnr:0.1"])
def test_thresholds_that_are_none(text: str, sides: Path) -> None:
    assert f"there is no threshold '{'' if ',' in text else text}'" in refused(audit(sides, "--threshold", text), sides)


def test_an_output_that_is_a_file(sides: Path) -> None:
    before = (sides / "training.npy").read_bytes()
    for output in (sides / "training.npy", sides / "training.npy/deep/er"):
        sentence = refused(audit(sides, "--output", output), sides)
        assert sentence.endswith(f"{sides / 'training.npy'} is a file; choose another --output")
    assert (sides / "training.npy").read_bytes() == before


def test_descriptors_on_one_side_alone(sides: Path) -> None:
    for generated, training in (("generated", "training.npy"), ("generated.npy", "training")):
        sentence = refused(audit(sides, generated=generated, training=training), sides)
        assert "holds descriptors and" in sentence and "`embed` it too, or give images on both sides" in sentence


def test_descriptors_of_another_preprocessing(sides: Path) -> None:
    for side, options in (("generated", ()), ("training", ("--preprocess", "squash:96"))):
        call = [
            "--backbone",
            "efficientnet_lite0",
            "--images",
            sides / side,
            "--output",
            sides / f"{side}_of_it",
            *options,
        ]
        assert CliRunner().invoke(app, ["embed", *map(str, call)]).exit_code == 0
    sentence = refused(audit(sides, generated="generated_of_it", training="training_of_it"), sides)
    assert "were not described alike (preprocess is " in sentence
    assert sentence.endswith("describe both by the same `embed`")
    # what something else made tells nothing, so that its dimension alone can be wrong
    ran = audit(sides, generated="generated_of_it", training="training.npy")
    assert "queries have 1280 dimensions and the database 8: compare like with like" in failed(ran, sides)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
@pytest.mark.parametrize("side", ["generated", "training"])
def test_descriptors_that_are_similar_to_nothing_are_listed(side: str, value: float, sides: Path) -> None:
    whole = np.load(sides / f"{side}.npy")
    rows = whole.copy()
    rows[1, : None if value == 0 else 1] = value
    np.save(sides / f"{side}.npy", rows)
    why = f"row 1 is {'zero' if value == 0 else 'not finite'}"
    said = refused(audit(sides, "--strict", generated="generated.npy", training="training.npy"), sides)
    assert said == why
    ran = audit(sides, generated="generated.npy", training="training.npy")
    assert ran.exit_code == 0 and f"{side}: 1 image can't be read or described and is left out" in ran.output
    assert (sides / "out/unreadable.csv").read_text() == f"side,id,reason\n{side},1,{why}\n"
    found = pd.read_csv(sides / "out/matches.csv")
    np.save(sides / f"{side}.npy", np.delete(whole, 1, axis=0))
    assert audit(sides, "--output", sides / "alone", generated="generated.npy", training="training.npy").exit_code == 0
    alone = pd.read_csv(sides / "alone/matches.csv")
    assert found["score"].tolist() == alone["score"].tolist()
    # rows keep the numbers that they have on disk
    assert found[side].tolist() == [row + (row > 0) for row in alone[side]] and 1 not in set(found[side])


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (np.empty((0, 8), np.float32), "holds no descriptors: name one that does"),
        (np.ones((5, 8), np.int64), "is of dtype int64: descriptors are float16, float32 or float64"),
        (np.ones(8, np.float32), "has shape (8,): descriptors are [rows, dimension]"),
    ],
)
def test_arrays_that_are_no_descriptors(rows: np.ndarray, sentence: str, sides: Path) -> None:
    np.save(sides / "bad.npy", rows)
    assert f"{sides / 'bad.npy'} {sentence}" in refused(
        audit(sides, generated="generated.npy", training="bad.npy"), sides
    )


def limited(n_bytes: int, call: Callable[[], Result]) -> str:
    """The sentence of a call under a limit on the size of files, which the system tells as it tells of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        ran = call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(ran.exception, OSError), ran.output + str(ran.exception)
    return told(ran.exception)


@pytest.mark.parametrize(
    ("n_bytes", "file", "there"),
    [
        (3_000, "matches.parquet", set()),
        (20_000, "histogram.svg", {"matches.parquet", "matches.csv", "histogram.pdf"}),
    ],
)
def test_a_full_disk_is_told_and_leaves_whole_files_without_a_summary(
    n_bytes: int, file: str, there: set[str], sides: Path
) -> None:
    out = sides / "out"

    def call() -> Result:
        return audit(sides, generated="generated.npy", training="training.npy")

    assert call().exit_code == 0
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    for path in out.iterdir():
        if path.name != "summary.json":
            path.unlink()
    assert limited(n_bytes, call) == f"File too large: {out / file}; mend this and run the same command again"
    # the summary that was there was of another audit
    assert {path.name for path in out.iterdir()} == there
    assert call().exit_code == 0
    again = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(again) == set(whole) and again["matches.csv"] == whole["matches.csv"]


def test_a_disk_too_full_for_descriptors(sides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(sides / "home"))
    sentence = limited(2_100, lambda: audit(sides))
    assert sentence.startswith("File too large: ") and "img_emb_0000.npy" in sentence and not (sides / "out").exists()
    # the first side is kept, the second is not begun
    assert not list((sides / "home").rglob("*.tmp")) and not list((sides / "home").rglob("partial.json"))
    verified = CliRunner().invoke(app, ["cache", "verify"])
    assert verified.exit_code == 0, verified.output
    assert audit(sides).exit_code == 0
