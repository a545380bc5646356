"""`experiment replication`: small models trained, sampled and audited; killed, gone on with, and what it comes to."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from scipy.stats import binomtest
from typer.testing import CliRunner

from bench.audit.statistics import Share
from bench.cli import app
from bench.errors import BenchError, WeightsUnavailable
from bench.experiment import folder as layout
from bench.experiment.figure import replication as drawn
from bench.experiment.replication import Auditing, Dependence, compare
from bench.experiment.table import FEWER, MORE, UNKNOWN, as_csv, compared, conclusions, rows
from bench.files import sha256_file
from tests.conftest import ROOT

pytest.importorskip("diffusers", reason="the extra generate is not installed")

SIDE, N_IMAGES, COUNT = 16, 12, 10
TRAINED = ("--resolution", SIDE, "--channels", "8,16", "--batch-size", 4, "--steps", 8, "--device", "cpu")
SAMPLED = ("--count", COUNT, "--inference-steps", 2)
AUDITED = ("--backbones", "dhash", "--similarities", "global,chunked@4", "--top-k", 5)
LEFT = ("--threshold", "0.2,fpr:0.1")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make such small networks slow; processes that are started have one, too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bench(*arguments: object) -> Result:
    ran = CliRunner().invoke(app, [*map(str, arguments)])
    assert ran.exception is None or isinstance(ran.exception, (BenchError, SystemExit)), ran.exception
    return ran


def arguments(photographs: Path, output: Path, *more: object, subsets: str = "3,12") -> tuple[object, ...]:
    sides = ("--images", photographs, "--subsets", subsets, "--output", output)
    return ("experiment", "replication", *sides, *TRAINED, *SAMPLED, *AUDITED, *LEFT, *more)


@pytest.fixture(scope="module")
def photographs(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 tiles of a photograph, one of them in a folder of its own."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "deep").mkdir()
    image = Image.open(photo).convert("RGB")
    for number in range(N_IMAGES):
        left, top = 75 * (number % 6), 100 * (number // 6)
        name = "deep/0" if number == 0 else f"{number:02d}"
        image.crop((left, top, left + 75, top + 60)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def experiment(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made in three calls: a model by `generate train`, an experiment with it, one more number of images."""
    output = tmp_path_factory.mktemp("experiment") / "out"
    model = output / "subset-3/model"
    assert (
        bench("generate", "train", "--images", photographs, "--subset", 3, *TRAINED, "--output", model).exit_code == 0
    )
    kept = state(model)
    assert (ran := bench(*arguments(photographs, output, subsets="3"))).exit_code == 0, ran.output
    kept |= state(output / "subset-3/samples") | state(output / "images")
    assert (ran := bench(*arguments(photographs, output))).exit_code == 0, ran.output
    assert kept == {path: now for path, now in state(output).items() if path in kept}
    return output


def state(folder: Path) -> dict[Path, tuple[int, str]]:
    """Times and hashes of all files, locks aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: (path.stat().st_mtime_ns, sha256_file(path)) for path in files}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def nearest(folder: Path) -> Mapping[str, "pd.Series[float]"]:
    """By similarity, the best score of each generated image in the matches of an audit."""
    found = pd.read_csv(folder / "matches.csv")
    found = found[found["rank"] == 1]
    return {str(name): of.set_index("generated_id")["score"] for name, of in found.groupby("similarity")}


# --- what is trained on --------------------------------------------------------------------------------------------


def test_the_images_are_those_that_the_networks_see(experiment: Path, photographs: Path) -> None:
    listed = table(experiment / "images.csv")
    assert [Path(row["path"]).name for row in listed] == [f"{place:08d}.png" for place in range(N_IMAGES)]
    assert sorted(row["id"] for row in listed) == sorted(
        path.relative_to(photographs).as_posix() for path in photographs.rglob("*.png")
    )
    for row in listed:
        whole = Image.open(photographs / row["id"])
        expected = whole.resize((20, SIDE), Image.Resampling.BICUBIC).crop((2, 0, 18, SIDE))
        assert np.array_equal(np.asarray(Image.open(row["path"])), np.asarray(expected))
        assert row["sha256"] == sha256_file(Path(row["path"]))


def test_small_subsets_are_part_of_large_ones_and_the_lists_tell_them(experiment: Path) -> None:
    everything = [row["id"] for row in table(experiment / "images.csv")]
    for n in (3, 12):
        of = experiment / f"subset-{n}"
        seen, unseen = ([row["id"] for row in table(of / f"{name}.csv")] for name in ("seen", "unseen"))
        assert seen == everything[:n] and unseen == everything[n:]
        assert [row["id"] for row in table(of / "model/training.csv")] == seen
        assert json.loads((of / "model/train.json").read_text())["subset"] == n
        assert len(list((of / "samples").glob("*.png"))) == COUNT


# --- what it comes to ----------------------------------------------------------------------------------------------


def test_an_audit_is_that_of_the_audit_command(experiment: Path, tmp_path: Path) -> None:
    of = experiment / "subset-12"
    sides = ("--generated", of / "samples", "--training", of / "seen.csv")
    assert bench("audit", *sides, *AUDITED, *LEFT, "--output", tmp_path).exit_code == 0
    assert (tmp_path / "matches.csv").read_bytes() == (of / "audit/matches.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in (of / "audit").iterdir()}


def test_the_table_follows_from_audits_of_each_side(experiment: Path, tmp_path: Path) -> None:
    pairs = ("--generated", experiment / "images.csv", "--training", experiment / "images.csv")
    options = ("--similarities", "global,chunked@4", "--backbones", "dhash")
    assert bench("audit", *pairs, *options, "--top-k", 11, "--output", tmp_path / "all").exit_code == 0
    unseen = ("--generated", experiment / "subset-3/samples", "--training", experiment / "subset-3/unseen.csv")
    assert bench("audit", *unseen, *options, "--top-k", 1, "--output", tmp_path / "unseen").exit_code == 0
    of_pairs = pd.read_csv(tmp_path / "all/matches.csv").groupby("similarity")["score"].apply(np.array)
    found = table(experiment / "replication.csv")
    assert [(row["similarity"], row["n_training"], row["threshold"]) for row in found] == [
        (similarity, n, threshold)
        for similarity in ("global", "chunked@4")
        for n in ("3", "12")
        for threshold in ("0.2", "fpr:0.1")
    ]
    for row in found:
        similarity, score = row["similarity"], float(row["score"])
        best = nearest(experiment / f"subset-{row['n_training']}/audit")[similarity]
        over = of_pairs[similarity]
        if row["threshold"] == "0.2":
            assert score == 0.2
        else:
            assert (over > score).mean() <= 0.1 < (over >= score - 2e-4).mean()
        k = int((best > score).sum())
        low, high = binomtest(k, COUNT).proportion_ci(method="wilson")
        expected = {"above": k, "share": k / COUNT, "low": low, "high": high, "n_generated": COUNT, "n_images": 12}
        expected |= {"p50": np.percentile(best, 50), "p95": np.percentile(best, 95)}
        expected["background_share"] = (nearest(tmp_path / "all")[similarity] > score).mean()
        if row["n_training"] == "3":
            k = int((best > nearest(tmp_path / "unseen")[similarity]).sum())
            low, high = binomtest(k, COUNT).proportion_ci(method="wilson")
            expected |= {"nearest_is_seen": k, "nearest_is_seen_share": k / COUNT, "chance": 3 / 12}
            expected |= {"nearest_is_seen_low": low, "nearest_is_seen_high": high}
        else:
            empty = ("nearest_is_seen", "nearest_is_seen_share", "nearest_is_seen_low", "nearest_is_seen_high")
            assert {row[name] for name in (*empty, "chance")} == {""}
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, abs=1e-6)


def test_the_summary_and_the_figure_say_so_too(experiment: Path) -> None:
    told = json.loads((experiment / "replication.json").read_text())
    found = table(experiment / "replication.csv")
    assert told["subsets"] == [3, 12] and told["training"]["steps"] == 8 and told["sampling"]["count"] == COUNT
    assert told["audit"]["thresholds"] == ["0.2", "fpr:0.1"] and told["failed"] == {}
    assert [(of["similarity"], of["threshold"], of["of_fewest"]["k"]) for of in told["conclusions"]] == [
        (row["similarity"], row["threshold"], int(row["above"])) for row in found if row["n_training"] == "3"
    ]
    caption = (experiment / "replication.txt").read_text()
    for row in found:
        assert f"{row['above']} of 10 are above {row['threshold']}" in caption
    assert {path.suffix for path in experiment.glob("replication.*")} == {
        ".csv", ".json", ".txt", ".pdf", ".png", ".svg"
    }  # fmt: skip
    assert Image.open(experiment / "replication.png").width == 2070
    caption = (experiment / "examples.txt").read_text()
    assert "The first 10 samples of each model" in caption and "by dhash, global, with their similarity" in caption
    assert Image.open(experiment / "examples.png").width == 2070


def test_the_table_of_thresholds_is_that_of_calibrate_and_can_be_given(
    experiment: Path, photographs: Path, tmp_path: Path
) -> None:
    own, again = experiment / "thresholds.csv", tmp_path / "thresholds.csv"
    options = ("--backbones", "dhash", "--similarities", "global,chunked@4", *LEFT, "--output", again)
    assert bench("calibrate", "--background", experiment / "images.csv", *options).exit_code == 0
    assert again.read_bytes() == own.read_bytes()
    before = (experiment / "replication.csv").read_bytes()
    assert bench(*arguments(photographs, experiment, "--calibration", again)).exit_code == 0
    assert (experiment / "replication.csv").read_bytes() == before
    for n in (3, 12):
        told = json.loads((experiment / f"subset-{n}/audit/summary.json").read_text())
        assert told["calibration"] == str(again)
        assert [above["calibrated"]["score"] for above in told["verdicts"][0]["above"]] == [
            float(row["score"]) for row in table(own)[:2]
        ]
    new = arguments(photographs, tmp_path / "new", "--calibration", again, "--threshold", "fpr:0.2")
    assert "does not hold fpr:0.2 of dhash, global" in refused(*new)
    assert "precision:0.9 can't be told from a training set" in refused(
        *arguments(photographs, tmp_path / "new", "--threshold", "precision:0.9")
    )
    assert "fpr:0.01 can't be told from 66 pairs of different images" in refused(
        *arguments(photographs, tmp_path / "new", "--threshold", "fpr:0.01")
    )
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def planted(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Dependence:
    """Samples of the smallest model are its training images, those of a larger one noise, of the next images unseen."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "images.csv").write_bytes((experiment / "images.csv").read_bytes())
    paths = [Path(row["path"]) for row in table(folder / "images.csv")]
    noise = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)
    made = {4: [path.read_bytes() for path in paths[:4] * 2], 5: list(map(png, noise))}
    made[6] = [path.read_bytes() for path in paths[6:]]
    for n, contents in made.items():
        samples = layout.part(folder, n).samples
        samples.mkdir(parents=True)
        for seed, content in enumerate(contents):
            (samples / f"{seed:08d}.png").write_bytes(content)
    return described(folder, tuple(made))


def png(pixels: "np.typing.NDArray[np.uint8]") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def described(folder: Path, sizes: tuple[int, ...]) -> Dependence:
    from bench.audit.describing import Describing, config_of
    from bench.audit.sides import Reading
    from bench.audit.thresholds import Threshold
    from bench.audit.verdict import Settings
    from bench.plugins import backbones
    from bench.similarity import Similarity
    from bench.weights import Network, WeightsStore

    weights = WeightsStore(Network(True), None, False)
    chosen = backbones.select("dhash")
    config = config_of(chosen, 0, "cpu", 4, "white", "ignored")
    how = Describing.here(chosen, config, weights, Reading(1), lambda *_: None)
    wanted = Auditing((Similarity(),), Settings(top_k=20, thresholds=(Threshold("score", 0.99),)))
    (found,) = compare(sizes, folder, wanted, how).found
    return found


def test_planted_copies_are_told(planted: Dependence) -> None:
    shares = [model.audited.verdict.above[0].generated for model in planted.models]
    assert [(share.k, share.n) for share in shares] == [(8, 8), (0, 8), (0, 6)]
    seen = [model.is_seen for model in planted.models]
    assert seen[0] and (seen[0].k, seen[0].n, seen[0].value) == (8, 8, 1.0)
    # a copy of an image that was not trained on is nearest to that one
    assert seen[2] and (seen[2].k, seen[2].n) == (0, 6)
    (conclusion,) = conclusions([planted])
    assert (conclusion.fewest, conclusion.most, conclusion.sentence) == (4, 6, FEWER)
    assert conclusion.p == pytest.approx(1 / 3003)  # of 14 in all, 8 drawn: one way of choosing the six that are none
    assert as_csv(rows([planted])).count("\n") == 4


def test_the_figure_is_the_same_bytes_twice(planted: Dependence) -> None:
    first, second = drawn([planted]), drawn([planted])
    assert first.svg == second.svg and first.encoded("pdf") == second.encoded("pdf")
    told = "4 training images: 8 of 8 are above 0.99 (100.0 % (67.6\u2013100.0)); of 8 the nearest was trained on"
    assert told in first.caption


@pytest.mark.parametrize(
    ("few", "many", "p", "sentence"),
    [
        # whales and sharks in two oceans, as scipy's documentation has them; Fisher's tea
        ((8, 10), (1, 6), 0.0349650, FEWER),
        ((1, 6), (8, 10), 0.0349650, MORE),
        ((3, 4), (1, 4), 0.4857143, UNKNOWN),
        ((0, 20), (0, 20), 1.0, UNKNOWN),
    ],
)
def test_conclusions_are_those_of_fishers_test(
    few: tuple[int, int], many: tuple[int, int], p: float, sentence: str
) -> None:
    found, told = compared(*(Share(k, n, k / n, 0, 1) for k, n in (few, many)))
    assert found == pytest.approx(p, abs=1e-7) and told == sentence


# --- going on, and what is refused ---------------------------------------------------------------------------------


def test_a_killed_experiment_goes_on_to_the_same_table(experiment: Path, photographs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", "bench", *map(str, arguments(photographs, output))]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while process.poll() is None and not (output / "subset-3/samples/manifest.csv").exists():
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (output / "subset-12/samples").exists() and not (output / "replication.csv").exists()
    kept = state(output / "subset-3/model")
    ran = bench(*arguments(photographs, output))
    assert ran.exit_code == 0, ran.output
    assert state(output / "subset-3/model") == kept
    assert (output / "replication.csv").read_bytes() == (experiment / "replication.csv").read_bytes()
    for weights in (f"subset-{n}/model/unet/diffusion_pytorch_model.safetensors" for n in (3, 12)):
        assert (output / weights).read_bytes() == (experiment / weights).read_bytes()
    names = {path.relative_to(output) for path in state(output) if "tfevents" not in path.name}
    assert names == {path.relative_to(experiment) for path in state(experiment) if "tfevents" not in path.name}


def refused(*wanted: object) -> str:
    """The sentence of a call that is refused, after which all is as before."""
    output = Path(str(wanted[wanted.index("--output") + 1]))
    before = state(output)
    ran = bench(*wanted)
    assert isinstance(ran.exception, BenchError), ran.output
    assert state(output) == before
    return str(ran.exception)


@pytest.mark.parametrize(
    ("subsets", "told"),
    [
        ("3,13", "--subsets names 13, but --images holds 12 images: lower it"),
        ("3,5,3", "--subsets names 3 twice: leave one out"),
        ("3,many", "--subsets '3,many' are not numbers with commas between: write 100,300,1000"),
        ("1,5", "--subsets names 1: name numbers of images from 2 on"),
    ],
)
def test_wrong_subsets_are_one_sentence(subsets: str, told: str, photographs: Path, tmp_path: Path) -> None:
    assert refused(*arguments(photographs, tmp_path / "out", subsets=subsets)) == told
    assert not (tmp_path / "out").exists()


def test_wrong_calls_are_one_sentence(photographs: Path, tmp_path: Path) -> None:
    def why(*more: object, output: Path = tmp_path / "out") -> str:
        return refused(*arguments(photographs, output, *more))

    sentence = why("--count", 10**12)
    assert "GB are needed for" in sentence and "GB free: choose another --output, a smaller --count" in sentence
    assert "lies among the images, whose copies it will hold: choose" in why(output=photographs / "deep/out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("mine")
    assert "other is not empty and holds no experiment: choose another --output" in why(output=tmp_path / "other")
    assert "other/file is a file; choose another --output" in why(output=tmp_path / "other/file/deep")
    assert "there is no threshold 'high'" in why("--threshold", "high")
    ran = bench(*arguments(photographs, tmp_path / "out", "--backbones", "dhash,sscd", "--offline"))
    assert isinstance(ran.exception, WeightsUnavailable) and "sscd" in str(ran.exception)
    assert not (tmp_path / "out").exists()


def test_another_configuration_is_refused(experiment: Path, photographs: Path, tmp_path: Path) -> None:
    def why(*more: object, images: Path = photographs, subsets: str = "5") -> str:
        return refused(*arguments(images, experiment, *more, subsets=subsets))

    assert "model belongs to another run (steps was 8, now 9)" in why("--steps", 9)
    assert "samples belongs to another run (count was 10, now 11)" in why("--count", 11)
    assert "images was" in why(images=experiment / "images")
    config = experiment / "subset-3/model/train.json"
    before = config.read_text()
    config.write_text("[]")
    assert "train.json can't be read" in why()
    config.write_text(before)


def test_images_that_were_changed_are_refused(experiment: Path, photographs: Path) -> None:
    image = experiment / "images/00000002.png"
    before = image.read_bytes()
    image.write_bytes((experiment / "images/00000003.png").read_bytes())
    assert "00000002.png is not what '" in refused(*arguments(photographs, experiment))
    image.write_bytes(before)


def test_what_fails_is_told(experiment: Path, photographs: Path) -> None:
    table = (experiment / "replication.csv").read_bytes()
    ran = bench(*arguments(photographs, experiment, "--similarities", "chunked@7"))
    assert ran.exit_code == 3 and "dhash, chunked@7: chunked@7 can't cut 64 dimensions into equal chunks" in ran.output
    assert (experiment / "replication.csv").read_bytes() == table
