"""Selection, hints, plugins from files and distributions, and the wrong `datasets` package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import plugins
from bench.errors import UsageError
from tests.conftest import ROOT, Bench

EMBEDDED = ["color", "dhash", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "pdq", "phash"]

PLUGIN = """
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.interfaces import NATIVE, TRAINING_FREE, Backbone, Descriptors, Model, Weights
from bench.plugins import register_backbone


class Mean:
    n_parameters = 0

    def describe(self, batch: torch.Tensor) -> Descriptors:
        return Descriptors(batch.float().mean((2, 3)) + 1)


class MeanColour(Backbone):
    def load(self, device: str, weights_file: Path | None) -> Model:
        return Mean()


@register_backbone()
def mean_colour() -> Backbone:
    return MeanColour("mean_colour", "mean", 3, NATIVE, Weights(TRAINING_FREE, "", "none"))
"""


def names(selection: str) -> list[str]:
    return [chosen.item.name for chosen in plugins.backbones.select(selection)]


def test_groups_and_globs() -> None:
    assert names("embedded") == EMBEDDED
    assert len(names("candidates")) == 10
    assert set(EMBEDDED) | set(names("candidates")) <= set(names("all"))
    assert names("*hash,sscd") == ["dhash", "phash", "sscd"]
    assert names("efficientnet_lite[12]") == ["efficientnet_lite1", "efficientnet_lite2"]
    assert names("sscd, sscd,s[cw]*") == ["sscd", "swav", "swin"]
    assert [chosen.item.name for chosen in plugins.datasets.select("demo")] == ["demo_copies", "demo_retrieval"]


def test_a_name_written_out_is_explicit_whatever_group_it_is_in_too() -> None:
    for selection in ("all,dino", "dino,all"):
        explicit = {chosen.item.name for chosen in plugins.backbones.select(selection) if chosen.explicit}
        assert explicit == {"dino"}


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        ("dno", "did you mean dino"),
        ("efficientnet_lite9", "did you mean efficientnet_lite"),
        ("zzzzz", "known are .*clip, .*color"),
        ("x*", "there is no backbone 'x\\*'"),
        (" , ", "no backbone was chosen"),
        ("sscd:x", "there is no backbone 'sscd:x'"),
    ],
)
def test_unknown_names_are_told_the_nearest(selection: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        plugins.backbones.select(selection)


def test_variants_are_chosen_by_name_or_by_a_pattern_with_a_colon() -> None:
    assert names("dino:vits16") == ["dino:vits16"]
    assert {"dino:vits16", "dino:copydetection"} <= set(names("dino:*")) and "dino" not in names("dino:*")
    assert names("din?,dino*")[0] == "dino" and not any(":" in name for name in names("dino*"))
    assert not any(":" in name for name in names("all"))
    assert names("dino:vits16,dino:*,sscd").count("dino:vits16") == 1
    explicit = {c.item.name for c in plugins.backbones.select("dino:*,dino:vits16") if c.explicit}
    assert explicit == {"dino:vits16"}


def test_options_stand_in_the_name_in_one_order_and_only_where_they_change_something() -> None:
    assert names("dino[ multiscale=yes, precision=bf16 ]") == ["dino[precision=bf16,multiscale=yes]"]
    assert names("dino[precision=fp32],dino,dino[compile=no]") == ["dino"]
    assert names("dino:vits16[gem=4]") == ["dino:vits16[gem=4]"]
    assert names("dino,dino[precision=bf16]") == ["dino", "dino[precision=bf16]"]
    assert len(names("candidates[precision=bf16]")) == 10
    assert plugins.backbones.select("sscd[precision=fp16]")[0].item.precision == "fp16"


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        ("dino[precision=int8]", "the option precision of dino is fp32 or bf16 or fp16, not 'int8'"),
        ("dino[size=3]", "the backbone 'dino' has no option 'size': it has precision, multiscale, compile, gem"),
        ("dino[gem=0]", "the option gem is a positive number"),
        ("dino[gem=nan]", "the option gem is a positive number"),
        ("dino[gem=3,gem=4]", "not of the form"),
        ("dino[gem=3,multiscale]", "not of the form"),
        ("pdq[precision=bf16]", "the backbone 'pdq' has no options"),
        ("dino:vits", "did you mean .*dino:vits16"),
        ("dino[precision]", "there is no backbone 'dino\\[precision\\]'"),
    ],
)
def test_wrong_options_and_variants_are_told(selection: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        plugins.backbones.select(selection)


def test_a_bracket_is_part_of_a_datasets_name(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "a[b=1]")
    assert plugins.datasets.select(f"disc:{tmp_path}/a[b=1]")[0].item.name == "disc:a[b=1]"


def test_natural_order() -> None:
    assert sorted(["b10", "b9", "a"], key=plugins.natural) == ["a", "b9", "b10"]


def test_a_file_is_a_plugin(bench: Bench, small: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    out = tmp_path / "out"
    chosen = ["--backbones", "mean_colour", "--datasets", f"disc:{small}", "--similarities", "global"]
    ran = bench("run", "--plugin", file, *chosen, "--output", out)
    assert ran.returncode == 0, ran.stderr
    _, row = (out / "leaderboard.csv").read_text().splitlines()
    assert row.startswith("1,1,1,mean_colour,global,none,ok,") and ",3,0.0," in row


def test_chunks_that_do_not_divide_fail_alone(bench: Bench, small: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    ran = bench(
        "run", "--plugin", file, "--backbones", "mean_colour,dhash", "--datasets", f"disc:{small}", "--output",
        tmp_path / "out",
    )  # fmt: skip
    assert ran.returncode == 3
    assert "chunked@16 can't cut 3 dimensions into equal chunks: K may be 3" in ran.stdout
    rows = [line.split(",")[:7] for line in (tmp_path / "out/leaderboard.csv").read_text().splitlines()[1:]]
    ranked = {"-".join(row[3:5]) for row in rows if row[0]}
    assert ranked == {"dhash-chunked@16", "dhash-global", "mean_colour-global"}
    assert [row for row in rows if not row[0]] == [["", "", "", "mean_colour", "chunked@16", "none", "failed"]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("import nowhere_to_be_found", "mine.py does not run: ModuleNotFoundError"),
        (PLUGIN.replace('"mean_colour", "mean"', '"other", "mean"'), "made an object named 'other'"),
        (PLUGIN.replace("def mean_colour", "def dino"), "the backbone 'dino' is registered twice"),
    ],
)
def test_a_broken_plugin_is_one_sentence(content: str, told: str, bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(content)
    ran = bench("run", "--plugin", file, "--backbones", "mean_colour", "--output", tmp_path / "out")
    assert ran.returncode == 2 and told in ran.stderr and "Traceback" not in ran.stderr
    assert "Traceback" in bench("--debug", "list", "backbones", "--plugin", tmp_path / "none.py").stderr


def test_a_distribution_is_a_plugin(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "their_module.py").write_text(PLUGIN)
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[descriptor_bench.backbones]\nmean = their_module\n")
    listed = bench("list", "backbones", "--json", PYTHONPATH=str(tmp_path))
    assert '"name": "mean_colour"' in listed.stdout, listed.stderr


def test_a_distribution_that_does_not_load_is_named(bench: Bench, tmp_path: Path) -> None:
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[descriptor_bench.backbones]\nmean = nowhere_to_be_found\n")
    listed = bench("list", "backbones", PYTHONPATH=str(tmp_path))
    assert listed.returncode == 2 and "the plugin 'mean' of the package theirs does not load" in listed.stderr


def test_the_wrong_datasets_package_is_one_sentence(tmp_path: Path) -> None:
    """As where Hugging Face's `datasets` comes first on the path."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/__init__.py").write_text("")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "bench", "list", "datasets"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1 and "the Python package 'datasets' was found at" in ran.stderr
