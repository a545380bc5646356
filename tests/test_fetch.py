"""`fetch`, as a real process against a local server."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bench
from tests.serving import Server, serving

CONTENT = b"weights " * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0" * 40

PLUGIN = """
from pathlib import Path

from bench.interfaces import NATIVE, TRAINING_FREE, Backbone, Model, Weights
from bench.plugins import register_backbone


class Never(Backbone):
    def load(self, device: str, weights_file: Path | None) -> Model:
        raise AssertionError("to fetch is not to load")


def made(name: str, source: str, *mirrors: str, **more: object) -> Backbone:
    return Never(name, "none", 3, NATIVE, Weights(source, "MIT", "none", mirrors=mirrors, **more))


@register_backbone(groups=("mine",))
def by_hand() -> Backbone:
    return made("by_hand", "ADDRESS/by_hand.pth")


@register_backbone(groups=("mine",))
def gone() -> Backbone:
    return made("gone", "ADDRESS/gone.pth")


@register_backbone(groups=("mine",))
def mirrored() -> Backbone:
    return made("mirrored", "ADDRESS/gone.pth", "ADDRESS/net.pth", carries_code=True)


@register_backbone(groups=("mine",))
def of_the_hub() -> Backbone:
    return made("of_the_hub", "hub:owner/repo/model.safetensors", companions=("config.json",))


@register_backbone(groups=("mine",))
def uninstalled() -> Backbone:
    return made("uninstalled", "package:not_installed_anywhere/net.pth")


@register_backbone(groups=("mine",))
def untrained() -> Backbone:
    return made("untrained", TRAINING_FREE)
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(CONTENT) as running:
        running.refused = {"/gone.pth": 404, f"/owner/repo/resolve/{COMMIT}/config.json": 404}
        running.headers = {"X-Repo-Commit": COMMIT, "X-Error-Code": "EntryNotFound"}
        yield running


def test_what_is_missing_is_fetched_each_failure_alone(server: Server, bench: Bench, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.replace("ADDRESS", server.address))
    (tmp_path / "by_hand").mkdir()
    (tmp_path / "by_hand/by_hand.pth").write_bytes(CONTENT)
    environment = {"BENCH_HOME": f"{tmp_path}/home", "HF_HOME": f"{tmp_path}/hf", "HF_ENDPOINT": server.address}

    def fetched() -> tuple[dict[str, list[str]], str]:
        call = ["fetch", "backbones", "mine", "--plugin", plugin, "--weights-dir", tmp_path / "by_hand"]
        ran = bench(*call, **environment)
        assert ran.returncode == 3 and "Traceback" not in ran.stderr
        cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in ran.stdout.splitlines()]
        return {row[0]: row[1:] for row in cells if row}, ran.stdout

    rows, shown = fetched()
    for name, outcome in [("by_hand", "here"), ("mirrored", "fetched"), ("of_the_hub", "fetched")]:
        assert rows[name][:3] == [outcome, "0.4", SHA256[:16]]
        assert Path(rows[name][3]).read_bytes() == CONTENT
    assert [rows[name] for name in ("gone", "uninstalled", "untrained")] == [
        ["failed"],
        ["failed"],
        ["nothing to fetch"],
    ]
    assert "gone: http" in shown and "404" in shown and "--weights-dir" in shown
    assert "uninstalled: the weights package:not_installed_anywhere/net.pth are not installed: pip install" in shown
    before = len(server.gets)
    rows, _ = fetched()
    assert [rows[name][0] for name in ("by_hand", "mirrored", "of_the_hub")] == ["here"] * 3
    assert [asked.path for asked in server.gets[before:]] == ["/gone.pth"]
    listed = bench("list", "backbones", "--json", "--plugin", plugin, **environment)
    states = {row["name"]: (row["weights"], row["megabytes"]) for row in json.loads(listed.stdout)}
    assert states["mirrored"] == ("here", 0.4) and states["by_hand"] == ("downloadable", None)
    assert states["uninstalled"][0] == "not installed" and states["untrained"][0] == "none needed"


def test_a_wrong_name_is_a_wrong_call(bench: Bench) -> None:
    ran = bench("fetch", "backbones", "dnio")
    assert ran.returncode == 2 and "did you mean dino" in ran.stderr
