"""The selection of a run, and how it stands to a published one."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import plugins
from bench.cli import app
from bench.errors import UsageError
from bench.ranking import Ranking, rank
from bench.selection import family, select
from tests.run_folders import make_run
from tests.test_ranking import flat, scored


def ranked(**values: float) -> Ranking:
    return rank(scored({(name.replace("_", ":"), "one", "global"): flat(v) for name, v in values.items()}))


def test_the_published_selection_is_a_group_of_the_registry() -> None:
    assert plugins.backbones.members("winners") == ["dino", "sscd", "swin"]
    assert set(plugins.backbones.members("winners")) < set(plugins.backbones.members("candidates"))


def test_it_agrees_whatever_the_order() -> None:
    found = select(ranked(a=1.0, b=0.5, c=0.25, d=0.1), 3, ["c", "a", "b"])
    assert found.agrees is True and found.is_clear and [s.backbone for s in found.chosen] == ["a", "b", "c"]


def test_where_it_differs_is_told() -> None:
    found = select(ranked(a=1.0, b=0.5, c=0.25, d=0.1), 2, ["a", "d"])
    assert found.agrees is False and found.added == ("b",)
    assert found.missing == {"d": "rank 4 (95 %: 4 to 4), among the first 2 with probability 0.00"}


def test_a_published_backbone_without_a_rank_leaves_it_open() -> None:
    found = select(ranked(a=1.0, b=0.5), 1, ["a", "z"])
    assert found.agrees is None and found.unranked == ("z",) and found.missing == {"z": "not in this run"}
    random = rank(scored({("a", "one", "global"): flat(0.5), ("random z", "one", "global"): flat(0.5)}))
    assert select(random, 1, ["a", "random z"]).missing == {"random z": "no rank: its weights are random"}


def test_a_variant_stands_for_its_family() -> None:
    assert [family(name) for name in ("net", "net:small", "net[size=1,gem=3]", "timm:x[a=b:c]")] == 3 * ["net"] + [
        "timm"
    ]
    assert select(ranked(net_small=1.0, b=0.5), 1, ["net"]).agrees is True


def test_a_cut_between_equals_is_not_clear() -> None:
    tied = select(ranked(a=1.0, b=0.5, c=0.5), 2, ["a"])
    assert [s.backbone for s in tied.chosen] == ["a", "b", "c"] and tied.next_p is None
    cells = {("a", "one", "global"): [1.0, 0.5] * 15, ("b", "one", "global"): [0.5, 1.0] * 14 + [0.5, 0.5]}

    unsure = select(rank(scored({cell: np.array(ap) for cell, ap in cells.items()})), 1, ["a"])
    assert not unsure.is_clear and unsure.next_p is not None and unsure.next_p > 0.5


def test_too_few_are_told_with_why() -> None:
    random = rank(scored({("a", "one", "global"): flat(0.5), ("random z", "one", "global"): flat(0.5)}))
    with pytest.raises(
        UsageError, match=r"only 1 backbones have a rank, so 3 can't .* random z: its weights are random"
    ):
        select(random, 3, [])


def test_the_command_on_a_real_run(small: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    chosen = ["run", "--backbones", "dhash,phash,color", "--datasets", f"disc:{small}", "--output", out]
    assert CliRunner().invoke(app, chosen).exit_code == 0
    told = CliRunner().invoke(app, ["select", out, "--top", "2"])
    assert told.exit_code == 0 and "Can't be compared with the selection of Somepalli et al." in told.stdout
    assert "- swin was selected there; here: not in this run" in told.stdout
    found = json.loads(CliRunner().invoke(app, ["select", out, "--top", "2", "--rule", "chunked", "--json"]).stdout)
    assert [s["similarity"] for s in found["chosen"]] == 2 * ["chunked@16"] and found["agrees"] is None
    assert found["published"] == ["dino", "sscd", "swin"]


def test_the_command_tells_what_could_not_be_used(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", {"near": 0.4, "mid": 0.8, "far": 1.2}, {"one": 1}, tables=False)
    (folder.records_path / "near--one--global.npz").unlink()
    ran = CliRunner().invoke(app, ["select", str(folder.path), "--top", "1"])
    assert ran.exit_code == 0
    assert "Whether the cut is clear can't be told: the evidence of near or mid can't be used." in ran.output
    (folder.records_path / "near--one--global.json").write_text("{")
    ran = CliRunner().invoke(app, ["select", str(folder.path)])
    assert "only 2 backbones have a rank" in str(ran.exception)
    assert "near--one--global.json can't be read as JSON" in str(ran.exception)
