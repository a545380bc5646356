"""The descriptor store: what is found again, and what must not be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import cells, plugins
from bench.extract import Throughput
from bench.interfaces import Preprocess
from bench.plugins import Selected
from bench.records import Config
from bench.store import DescriptorStore, Stored

CONFIG = Config(("dino",), ("demo_copies",), ("global",), "pretrained", 0, "cpu", 32)


def stored() -> Stored:
    return Stored(
        np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32),
        12,
        Throughput(3.5, 5, 2, 1),
        {"cpu": "one"},
        "2026-01-01",
    )


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    store, made = DescriptorStore(tmp_path / "store"), stored()
    assert store.find({"a": 1}) is None
    store.keep({"a": 1}, made)
    store.keep({"a": 1}, made)
    found = DescriptorStore(tmp_path / "store").find({"a": 1})
    assert found is not None and np.array_equal(found.descriptors, made.descriptors)
    assert replace(found, descriptors=made.descriptors) == made
    assert store.find({"a": 2}) is None
    assert [path.name for path in store.root.iterdir()] == [store.key({"a": 1})]


@pytest.mark.parametrize("file", ["descriptors.npy", "meta.json"])
@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b[:-1] + b"\x00", lambda b: b"", None])
def test_a_damaged_entry_is_made_again(file: str, damage: Any, tmp_path: Path) -> None:
    store = DescriptorStore(tmp_path)
    store.keep({"a": 1}, stored())
    path = tmp_path / store.key({"a": 1}) / file
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))
    assert store.find({"a": 1}) is None
    store.keep({"a": 1}, stored())
    assert store.find({"a": 1}) is not None


def test_every_part_that_decides_a_descriptor_is_in_the_key(tmp_path: Path) -> None:
    chosen = plugins.backbones.select("dino")[0]
    own = tmp_path / "plugin.py"
    own.write_text("one")

    def key(of: Selected[Any] = chosen, config: Config = CONFIG, weights: str = "w", images: str = "i") -> str:
        return DescriptorStore.key(cells.descriptor_key(of, config, weights, images))

    own_source = replace(chosen, source=own)
    keys = {
        "as it is": key(),
        "weights": key(weights="other"),
        "images": key(images="other"),
        "preprocess": key(replace(chosen, item=replace(chosen.item, preprocess=Preprocess(size=248)))),
        "device": key(config=replace(CONFIG, device="cuda")),
        "random": key(config=replace(CONFIG, weights="random")),
        "seed": key(config=replace(CONFIG, weights="random", seed=1)),
        "source": key(own_source),
    }
    own.write_text("two")
    keys["changed source"] = key(own_source)
    assert len(set(keys.values())) == len(keys)
    assert key() == keys["as it is"]
    assert key(config=replace(CONFIG, batch_size=1)) == keys["as it is"]
