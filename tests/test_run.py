"""Whole runs as real processes: what they leave, how they resume, how they fail."""

import csv
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import plugins, weights
from bench.errors import DatasetError
from tests.conftest import ROOT, Bench, make_disc
from tests.test_images import spoiled

TRAINING_FREE = "color,dhash,pdq,phash"


def arguments(data: Path, output: Path, backbones: str = TRAINING_FREE, *more: str) -> list[str]:
    return ["run", "--backbones", backbones, "--datasets", f"disc:{data}", "--output", str(output), *more]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def untimed(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str).drop(columns="images_per_s")


def modified(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "records").glob("*.json")}


def test_a_run_leaves_records_and_tables(bench: Bench, small: Path, tmp_path: Path) -> None:
    ran = bench(*arguments(small, tmp_path / "out", "efficientnet_lite0,dhash"))
    assert ran.returncode == 0, ran.stderr
    assert "efficientnet_lite0" in ran.stdout and "leaderboard.csv" in ran.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "gains.csv",
        "leaderboard.csv",
        "leaderboard.md",
        "leaderboard.tex",
        "ranking.csv",
        "records",
        "run.json",
        "scores.csv",
    ]
    board = rows(tmp_path / "out/leaderboard.csv")
    metrics = ["map", "map_rop", "hit@1", "recall@10", "mrr", "micro_ap", "recall@p90", "threshold@p90"]
    assert list(board[0]) == [
        *("rank", "rank_low", "rank_high", "backbone", "similarity", "weights", "status"),
        *(f"disc:small.{metric}" for metric in metrics),
        *("mean_map", "mean_map_low", "mean_map_high", "n_datasets", "complete", "limit", "embed_dim", "params_m"),
        *("images_per_s", "device", "licence", "non_commercial"),
    ]
    best = next(row for row in board if row["backbone"] == "efficientnet_lite0" and row["similarity"] == "global")
    assert (best["weights"], best["status"], best["complete"]) == ("pretrained", "ok", "True")
    assert (best["n_datasets"], best["embed_dim"], best["params_m"], best["device"]) == ("1", "1280", "3.371008", "cpu")
    assert float(best["disc:small.hit@1"]) == 1.0 and best["mean_map"] == best["disc:small.map"]
    maps = [float(row["mean_map"]) for row in board]
    assert maps == sorted(maps, reverse=True)
    assert [int(row["rank"]) for row in board] == [1 + sum(other > value for other in maps) for value in maps]
    scores = rows(tmp_path / "out/scores.csv")
    assert list(scores[0]) == [
        *("backbone", "weights", "dataset", "similarity", "metric", "value", "ci_low", "ci_high", "n_queries", "status")
    ]
    assert len(scores) == 2 * 2 * len(metrics)
    used = {row["metric"]: row["n_queries"] for row in scores}
    assert used["map"] == "6" and used["micro_ap"] == "8"


def test_a_record_says_where_its_numbers_come_from(bench: Bench, small: Path, tmp_path: Path) -> None:
    bench(*arguments(small, tmp_path / "out", "efficientnet_lite0"))
    (path,) = (tmp_path / "out/records").glob("efficientnet_lite0--disc_small--chunked@16-*.json")
    body = json.loads(path.read_text())
    assert body["schema_version"] == 4 and body["status"] == "ok" and body["error"] is None
    assert body["backbone"]["weights_sha256"].startswith("57934424")
    chunked = {"spec": "chunked@16", "kind": "chunked", "chunks": 16, "chunk_norm": "vector"}
    similarity = chunked | {"descriptor": "global", "grid": None, "cross": False}
    assert body["similarity"] == similarity and len(body["run_id"]) == 32
    assert body["preprocess"]["size"] == 256 and body["preprocess"]["query_crop"] is False
    assert body["search"] == {"metric": "cosine", "candidates": "full", "tie_rule": "pessimistic"}
    assert body["dataset"]["n_queries"] == 8 and body["dataset"]["n_queries_without_positive"] == 2
    assert len(body["dataset"]["manifest_sha256"]) == 64 and body["argv"][:2] == ["bench", "run"]
    assert body["hardware"]["cpu"] and body["packages"]["torch"] and body["throughput"]["includes_decode"] is True


def test_the_same_command_computes_nothing_again(bench: Bench, small: Path, tmp_path: Path) -> None:
    command = arguments(small, tmp_path / "out")
    bench(*command)
    before, table = modified(tmp_path / "out"), (tmp_path / "out/leaderboard.csv").read_bytes()
    assert bench(*command).returncode == 0
    assert modified(tmp_path / "out") == before
    assert (tmp_path / "out/leaderboard.csv").read_bytes() == table


def test_another_configuration_needs_overwrite(bench: Bench, small: Path, tmp_path: Path) -> None:
    bench(*arguments(small, tmp_path / "out", "dhash"))
    before = modified(tmp_path / "out")
    (tmp_path / "out/notes.txt").write_text("mine")
    other = arguments(small, tmp_path / "out", "phash", "--seed", "7")
    refused = bench(*other)
    assert refused.returncode == 2 and modified(tmp_path / "out") == before
    assert "backbones was ['dhash'], now ['phash']; seed was 0, now 7" in refused.stderr
    assert bench(*other, "--overwrite").returncode == 0
    assert {row["backbone"] for row in rows(tmp_path / "out/leaderboard.csv")} == {"phash"}
    assert not modified(tmp_path / "out").keys() & before.keys()
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("mine", ["thesis.tex", "leaderboard_notes.md", "records/patients.json"])
def test_a_folder_of_something_else_is_left_alone(mine: str, bench: Bench, small: Path, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / mine).write_text("mine")
    for overwrite in ([], ["--overwrite"]):
        refused = bench(*arguments(small, tmp_path, "dhash", *overwrite))
        assert refused.returncode == 2 and "is not empty and not a run's" in refused.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(mine).name]


def test_a_folder_with_the_same_name_elsewhere_is_another_configuration(
    bench: Bench, small: Path, photo: Path, tmp_path: Path
) -> None:
    other = make_disc(tmp_path / "elsewhere/small", photo)
    bench(*arguments(small, tmp_path / "out", "dhash"))
    refused = bench(*arguments(other, tmp_path / "out", "dhash"))
    assert refused.returncode == 2 and "datasets was" in refused.stderr
    both = bench("run", "--backbones", "dhash", "--datasets", f"disc:{small},disc:{other}", "--output", tmp_path / "2")
    assert both.returncode == 2 and "would share the name" in both.stderr
    chosen = ["--backbones", "dhash", "--datasets", f"roxford5k,roxford5k:{tmp_path}", "--output", tmp_path / "o"]
    ran = bench("run", *chosen)
    assert ran.returncode == 2 and f"its usual place and {tmp_path} would share the name roxford5k" in ran.stderr


def test_the_order_of_a_selection_does_not_matter(bench: Bench, small: Path, tmp_path: Path) -> None:
    bench(*arguments(small, tmp_path / "out", "dhash,phash"))
    before = modified(tmp_path / "out")
    again = bench(*arguments(small, tmp_path / "out", "phash,dhash", "--similarities", "chunked@16,global"))
    assert again.returncode == 0 and modified(tmp_path / "out") == before


def test_a_copy_may_be_called_after_its_original(bench: Bench, photo: Path, tmp_path: Path) -> None:
    """File names shared by queries and references are other images: the scores are the same."""
    data = make_disc(tmp_path / "data", photo)
    bench(*arguments(data, tmp_path / "before", "dhash"))
    for number in range(8):
        (data / "queries" / f"q{number}.jpg").rename(data / "queries" / f"r{number:02d}.jpg")
    truth = (data / "ground_truth.csv").read_text()
    for number in range(8):
        truth = truth.replace(f"q{number},", f"r{number:02d},")
    (data / "ground_truth.csv").write_text(truth)
    assert bench(*arguments(data, tmp_path / "after", "dhash")).returncode == 0
    assert (tmp_path / "before/scores.csv").read_bytes() == (tmp_path / "after/scores.csv").read_bytes()


def test_killed_at_any_moment_it_goes_on_to_the_same_tables(small: Path, tmp_path: Path) -> None:
    """SIGKILL after the first, third, ... record, then to the end; beside it an undisturbed run elsewhere."""

    def start(name: str) -> "subprocess.Popen[bytes]":
        environment = os.environ | {"BENCH_HOME": str(tmp_path / f"{name}-home")}
        command = [sys.executable, "-m", "bench", *arguments(small, tmp_path / name)]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    assert start("whole").wait() == 0
    killed = 0
    for wanted in (0, 1, 3, 5):
        process = start("killed")
        while process.poll() is None and len(list((tmp_path / "killed/records").glob("*.json"))) <= wanted:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        for path in (tmp_path / "killed/records").glob("*.json"):
            json.loads(path.read_text())
    assert killed >= 2
    assert start("killed").wait() == 0
    assert (tmp_path / "killed/scores.csv").read_bytes() == (tmp_path / "whole/scores.csv").read_bytes()
    pd.testing.assert_frame_equal(
        untimed(tmp_path / "killed/leaderboard.csv"), untimed(tmp_path / "whole/leaderboard.csv")
    )
    assert not list((tmp_path / "killed").rglob("*.tmp"))


def test_ctrl_c_keeps_what_is_computed(small: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bench",
        *arguments(small, tmp_path / "out", "dhash,resnet50", "--weights", "random"),
    ]
    own = {**os.environ, "BENCH_HOME": str(tmp_path / "home")}  # elsewhere another test may have described the images
    process = subprocess.Popen(command, cwd=ROOT, env=own, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while process.poll() is None and not list((tmp_path / "out/records").glob("dhash*global*.json")):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130 and "interrupted; what is computed is kept" in told and "Traceback" not in told
    assert list((tmp_path / "out/records").glob("dhash*global*.json"))


def test_the_speed_at_another_batch_size_is_not_reported(bench: Bench, small: Path, tmp_path: Path) -> None:
    home = {"BENCH_HOME": str(tmp_path / "home")}
    for name, batch, measured in (("one", "32", True), ("two", "16", False)):
        bench(*arguments(small, tmp_path / name, "dhash", "--batch-size", batch), **home)
        assert all(bool(row["images_per_s"]) == measured for row in rows(tmp_path / name / "leaderboard.csv"))


def test_a_cache_folder_that_cannot_be_written_is_told_at_once(bench: Bench, small: Path, tmp_path: Path) -> None:
    ran = bench(*arguments(small, tmp_path / "out", "dhash"), BENCH_HOME="/dev/null/home")
    assert ran.returncode == 2 and "can't write to the cache folder /dev/null/home" in ran.stderr


def test_two_runs_do_not_write_to_one_folder(bench: Bench, small: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    bench(*arguments(small, tmp_path / "out", "dhash"))
    with FileLock(tmp_path / "out/records/.lock"):
        refused = bench(*arguments(small, tmp_path / "out", "dhash"))
    assert refused.returncode == 2 and "another run is writing to" in refused.stderr


def scored(out: Path, dataset: str) -> dict[str, str]:
    """Scores of the only backbone by similarity and metric."""
    found = [row for row in rows(out / "scores.csv") if row["dataset"] == dataset]
    return {f"{row['similarity']} {row['metric']}": row["value"] for row in found}


def body(out: Path, dataset: str) -> dict[str, Any]:
    """What the first record of a dataset says of it."""
    bodies = [json.loads(path.read_text()) for path in sorted((out / "records").glob("*.json"))]
    return next(of["dataset"] for of in bodies if of["dataset"]["name"] == dataset)


@pytest.mark.parametrize("broken", ["cut.jpg", "huge.png"])
def test_a_broken_distractor_is_left_out(broken: str, bench: Bench, small: Path, photo: Path, tmp_path: Path) -> None:
    bad, out = make_disc(tmp_path / "bad", photo), tmp_path / "out"
    shutil.copy(spoiled(tmp_path, photo)[broken], bad / "references" / broken)
    (bad / "references/notes.txt").write_text("no image")
    ran = bench("run", "--backbones", "dhash", "--datasets", f"disc:{bad},disc:{small}", "--output", out)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "disc:bad: 1 image can't be read or described and is left out" in ran.stdout and "1 .txt" in ran.stdout
    (header, line) = (out / "unreadable.csv").read_text().splitlines()
    assert header == "side,id,reason" and line.startswith(f"disc:bad,references/{Path(broken).stem},")
    assert body(out, "disc:bad")["n_needed_unreadable"] == 0 and body(out, "disc:bad")["skipped"] == {".txt": 1}
    assert scored(out, "disc:bad") == scored(out, "disc:small")
    assert bench("verify", out).returncode == 0
    page = bench("report", out)
    assert page.returncode == 0 and f"references/{Path(broken).stem}" in (out / "report.html").read_text()


def test_a_lost_query_or_positive_stops_its_dataset_alone_and_all_are_named(
    bench: Bench, small: Path, photo: Path, tmp_path: Path
) -> None:
    bad, out = make_disc(tmp_path / "bad", photo), tmp_path / "out"
    truth = rows(bad / "ground_truth.csv")
    matched = [row for row in truth if row["reference_id"]]
    names = f"queries/{matched[0]['query_id']}.*", f"references/{matched[1]['reference_id']}.*"
    lost = [next(bad.glob(name)) for name in names]
    whole = [path.read_bytes() for path in lost]
    for path in lost:
        path.write_bytes(path.read_bytes()[:50])
    call = ["run", "--backbones", "dhash", "--datasets", f"disc:{bad},disc:{small}", "--output", out]
    ran = bench(*call)
    assert ran.returncode == 3 and "Traceback" not in ran.stdout + ran.stderr
    assert "2 images that the ground truth of disc:bad needs can't be read or described" in ran.stdout
    assert all(f"{path.parent.name}/{path.stem}" in ran.stdout for path in lost)
    for row in rows(out / "leaderboard.csv"):
        assert row["disc:small.map"] and not row["disc:bad.map"]
        assert (row["rank"], row["mean_map"], row["status"], row["complete"]) == ("", "", "failed", "False")
    assert {row["value"] for row in rows(out / "scores.csv") if row["dataset"] == "disc:bad"} == {""}
    skipped = bench(*call, "--skip-unreadable")
    assert skipped.returncode == 0 and "without 2 queries or positives" in skipped.stdout
    told = body(out, "disc:bad")
    robbed = sum(row["reference_id"] == matched[1]["reference_id"] for row in matched)
    assert told["n_needed_unreadable"] == 2 and told["n_queries"] == body(out, "disc:small")["n_queries"] - 1 - robbed
    assert bench("verify", out).returncode == 0
    assert bench(*call).returncode == 3  # what was skipped does not pass for the whole
    assert bench(*call, "--strict", "--skip-unreadable").returncode == 2
    for path, content in zip(lost, whole, strict=True):
        path.write_bytes(content)
    mended = bench(*call)
    assert mended.returncode == 0 and all(row["rank"] for row in rows(out / "leaderboard.csv"))
    assert scored(out, "disc:bad") == scored(out, "disc:small") and not (out / "unreadable.csv").exists()


def test_strict_stops_at_the_first_broken_image(bench: Bench, photo: Path, tmp_path: Path) -> None:
    bad = make_disc(tmp_path / "bad", photo)
    shutil.copy(spoiled(tmp_path, photo)["cut.jpg"], bad / "references/cut.jpg")
    ran = bench("run", "--backbones", "dhash", "--datasets", f"disc:{bad}", "--output", tmp_path / "out", "--strict")
    assert ran.returncode == 3 and "references/cut.jpg can't be read" in ran.stdout


def test_a_changed_image_is_never_served_from_the_cache(bench: Bench, photo: Path, tmp_path: Path) -> None:
    data = make_disc(tmp_path / "data", photo)
    bench(*arguments(data, tmp_path / "out", "dhash"))
    before = rows(tmp_path / "out/scores.csv")
    for number in range(6):
        shutil.copy(data / "references/r11.png", data / "queries" / f"q{number}.jpg")
    assert bench(*arguments(data, tmp_path / "out", "dhash")).returncode == 0
    after = rows(tmp_path / "out/scores.csv")
    assert float(before[0]["value"]) > 0.9 > 0.5 > float(after[0]["value"])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda d: (d / "ground_truth.csv").write_text("query_id,reference_id\nq9,r00\n"), "line 2: there is no query"),
        (lambda d: (d / "ground_truth.csv").write_text("query_id,reference_id\nq1,r99\n"), "no reference image 'r99'"),
        (lambda d: (d / "ground_truth.csv").write_text("query_id,reference_id\nq1,r01\nq1,r01\n"), "line 3: the pair"),
        (
            lambda d: (d / "ground_truth.csv").write_text("query,reference\n"),
            "lacks the column query_id and reference_id",
        ),
        (
            lambda d: (d / "ground_truth.csv").write_bytes(b"query_id,reference_id\n\xe9,r00\n"),
            "is not a CSV file in UTF-8",
        ),
        (lambda d: (d / "ground_truth.csv").unlink(), "there is no ground truth"),
        (lambda d: shutil.copy(d / "references/r01.png", d / "references/r01.jpg"), "share the name 'r01'"),
        (lambda d: shutil.rmtree(d / "references"), "there is no folder"),
    ],
)
def test_a_wrong_dataset_is_told(spoil, told: str, photo: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = make_disc(tmp_path / "data", photo)
    spoil(data)
    with pytest.raises(DatasetError, match=told):
        plugins.datasets.select(f"disc:{data}")[0].item.load()


def test_a_wrong_dataset_fails_its_cells(bench: Bench, photo: Path, tmp_path: Path) -> None:
    data = make_disc(tmp_path / "data", photo)
    (data / "ground_truth.csv").unlink()
    ran = bench(*arguments(data, tmp_path / "out", "dhash"))
    assert ran.returncode == 3 and "there is no ground truth" in ran.stdout


def test_weights_that_cannot_be_had(bench: Bench, small: Path, tmp_path: Path) -> None:
    """No failure through a group; a failure where the backbone was named."""
    chosen = arguments(small, tmp_path / "group", "candidates", "--offline", "--similarities", "global")
    started = time.monotonic()
    group = bench(*chosen)
    assert group.returncode == 0 and time.monotonic() - started < 60
    assert "downloads are switched off" in group.stdout and "--weights-dir" in group.stdout
    board = rows(tmp_path / "group/leaderboard.csv")
    assert len(board) == 10 and {row["status"] for row in board} == {"unavailable"}
    assert {row["rank"] + row["mean_map"] + row["disc:small.map"] for row in board} == {""}
    named = bench(*arguments(small, tmp_path / "named", "dhash,sscd"), HF_HUB_OFFLINE="1")
    assert named.returncode == 3
    assert {row["backbone"] for row in rows(tmp_path / "named/leaderboard.csv") if row["rank"]} == {"dhash"}


PROGRAM = """
from bench.interfaces import NATIVE, Backbone, Descriptors, Weights
from bench.plugins import register_backbone


class Mean:
    n_parameters = 0

    def describe(self, batch):
        return Descriptors(batch.float().mean((2, 3)) + 1)


class Program(Backbone):
    def load(self, device, weights_file):
        assert weights_file.read_bytes() == b"program"
        return Mean()


@register_backbone()
def program() -> Backbone:
    source, mirror = "https://weights.invalid/a/net.pt", "https://weights.invalid/b/mirror.pt"
    return Program("program", "mean", 3, NATIVE, Weights(source, "", "none", mirrors=(mirror,), carries_code=True))
"""


def test_weights_brought_by_hand_and_a_program_among_them(bench: Bench, small: Path, tmp_path: Path) -> None:
    """The record names the source that was used."""
    (tmp_path / "plugin.py").write_text(PROGRAM)
    (tmp_path / "by_hand").mkdir()
    (tmp_path / "by_hand/mirror.pt").write_bytes(b"program")
    options = ["--plugin", tmp_path / "plugin.py", "--weights-dir", tmp_path / "by_hand", "--offline"]
    command = [*arguments(small, tmp_path / "out", "program"), "--similarities", "global", *options]
    refused = bench(*command)
    assert refused.returncode == 3 and "net.pt are a program" in refused.stdout and "--allow-code" in refused.stdout
    assert bench(*command, "--allow-code").returncode == 0
    (path,) = (tmp_path / "out/records").glob("*.json")
    about = json.loads(path.read_text())["backbone"]
    assert about["weights_url"] == "https://weights.invalid/b/mirror.pt"
    assert about["weights_sha256"] == hashlib.sha256(b"program").hexdigest()


def test_scores_stay_where_their_weights_have_gone_unless_the_images_changed(
    bench: Bench, photo: Path, tmp_path: Path
) -> None:
    small = make_disc(tmp_path / "data", photo)

    origin = plugins.backbones.select("vicregl")[0].item.weights
    import torch
    import torchvision

    state = torchvision.models.resnet50().state_dict()
    by_hand = weights.stored_at(origin.source)
    by_hand.parent.mkdir(parents=True)
    torch.save({k: v for k, v in state.items() if not k.startswith("fc.")}, by_hand)
    command = arguments(small, tmp_path / "out", "vicregl", "--offline")
    assert bench(*command).returncode == 0
    before = (tmp_path / "out/scores.csv").read_bytes()
    by_hand.unlink()
    assert bench(*command).returncode == 0
    assert (tmp_path / "out/scores.csv").read_bytes() == before
    shutil.copy(small / "references/r11.png", small / "queries/q0.jpg")
    assert bench(*command).returncode == 3
    assert {row["status"] for row in rows(tmp_path / "out/leaderboard.csv")} == {"unavailable"}


def test_random_weights_say_so_everywhere_and_have_no_rank(bench: Bench, small: Path, tmp_path: Path) -> None:
    """All ten candidates, by their true architectures."""
    chosen = arguments(small, tmp_path / "out", "candidates,dhash", "--weights", "random")
    ran = bench(*chosen)
    assert ran.returncode == 0, ran.stdout
    assert sorted(path.name for path in (tmp_path / "out").glob("*.*")) == [
        "gains.random.csv",
        "leaderboard.random.csv",
        "leaderboard.random.md",
        "leaderboard.random.tex",
        "ranking.random.csv",
        "run.json",
        "scores.random.csv",
    ]
    board = rows(tmp_path / "out/leaderboard.random.csv")
    assert len(board) == 22
    for row in board:
        random = row["backbone"] != "dhash"
        assert (row["weights"], bool(row["rank"])) == (("random", False) if random else ("none", True))
        assert row["mean_map"] and row["status"] == "ok"
    for path in (tmp_path / "out/records").glob("*.json"):
        body = json.loads(path.read_text())
        assert (body["backbone"]["weights"] == "random") == ("--random--" in path.name) == ("dhash" not in path.name)
    assert "weights=random" in ran.stdout and "weights=random" in (tmp_path / "out/leaderboard.random.md").read_text()


def test_random_weights_follow_the_seed(bench: Bench, small: Path, tmp_path: Path) -> None:
    def scores(name: str, seed: int) -> bytes:
        home = {"BENCH_HOME": str(tmp_path / f"{name}-home")}
        command = arguments(small, tmp_path / name, "resnet50", "--weights", "random", "--seed", str(seed))
        assert bench(*command, **home).returncode == 0
        return (tmp_path / name / "scores.random.csv").read_bytes()

    assert scores("a", 1) == scores("b", 1) != scores("c", 2)


def test_a_full_disk_is_one_sentence_and_nothing_is_half_written(small: Path, tmp_path: Path) -> None:
    """The kernel refuses files over 2 kB, as a full disk does."""
    command = [sys.executable, "-m", "bench", *arguments(small, tmp_path / "out", "dhash")]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        # a process that measures coverage would fail to write that, too
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert ran.returncode == 1
    assert "error: File too large" in ran.stderr and "Traceback" not in ran.stderr
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] in (
        ["run.json", ".lock"],
        [".lock", "run.json"],
    )


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (["--backbones", "dnio"], "did you mean dino"),
        (["--datasets", "demo_copie"], "did you mean demo_copies"),
        (["--datasets", "disc:/nowhere"], "there is no dataset folder /nowhere"),
        (["--similarities", "chunkd@4"], "write global, chunked@K"),
        (["--device", "cuda:99"], "there is no device 'cuda:99'"),
        (["--output", "/dev/null/out"], "can't write to the folder /dev/null/out"),
        (["--batch-size", "0"], "batch-size"),
        (["--weights", "trained"], "weights"),
        (["--weights-dir", "/nowhere"], "there is no folder /nowhere"),
    ],
)
def test_a_wrong_call_exits_with_2(chosen: list[str], told: str, bench: Bench, tmp_path: Path) -> None:
    ran = bench("run", "--backbones", "dhash", "--output", tmp_path / "out", *chosen)
    assert ran.returncode == 2 and told in ran.stderr and "Traceback" not in ran.stderr


def test_the_speed_of_another_machine_is_not_reported_as_this_ones(bench: Bench, small: Path, tmp_path: Path) -> None:
    """As where the cache folder is shared: descriptors are taken from it, their timing is not."""
    home = {"BENCH_HOME": str(tmp_path / "home")}
    bench(*arguments(small, tmp_path / "one", "dhash"), **home)
    assert all(row["images_per_s"] for row in rows(tmp_path / "one/leaderboard.csv"))
    (meta,) = (tmp_path / "home/descriptors").glob("*/meta.json")
    body = json.loads(meta.read_text())
    body["hardware"]["cpu"] = "another"
    meta.write_text(json.dumps(body))
    bench(*arguments(small, tmp_path / "two", "dhash"), **home)
    assert not any(row["images_per_s"] for row in rows(tmp_path / "two/leaderboard.csv"))
    assert (tmp_path / "two/scores.csv").read_bytes() == (tmp_path / "one/scores.csv").read_bytes()
