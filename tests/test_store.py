"""The descriptor store: what is found again, and what must not be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import cells, plugins
from bench.descriptor import DescriptorKind
from bench.interfaces import Preprocess
from bench.plugins import Selected
from bench.records import Config
from bench.store import DescriptorStore, Stored
from tests import store_entries

CONFIG = Config(("dino",), ("demo_copies",), ("global",), "pretrained", 0, "cpu", 32)


ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
NAMES = store_entries.names(5)


def keep(store: DescriptorStore) -> None:
    store_entries.keep(store, {"a": 1}, ROWS, batch_size=3)


def entries(root: Path) -> list[str]:
    return [path.name for path in root.iterdir() if path.name != "locks"]


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    store = DescriptorStore(tmp_path / "store")
    assert store.find({"a": 1}) is None
    keep(store)
    keep(store)
    found = DescriptorStore(tmp_path / "store").find({"a": 1})
    assert found is not None and np.array_equal(found.descriptors, ROWS)
    how = {**store_entries.DETAILS, "throughput": store_entries.THROUGHPUT}
    assert replace(found, descriptors=ROWS) == Stored(ROWS, **how)
    assert store.find({"a": 2}) is None
    assert entries(store.root) == [store.key({"a": 1})]


def test_an_entry_without_a_whole_shard_is_not_there(tmp_path: Path) -> None:
    store = DescriptorStore(tmp_path)
    with pytest.raises(RuntimeError, match="cut short"), store.filling({"a": 1}, NAMES) as writer:
        writer.append(ROWS[:3], NAMES[:3])
        raise RuntimeError("cut short")
    assert store.find({"a": 1}) is None and not entries(tmp_path)


@pytest.mark.parametrize("file", ["img_emb/img_emb_0000.npy", "metadata/metadata_0000.parquet", "meta.json"])
@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b[:-1] + b"\x00", lambda b: b"", None])
def test_a_damaged_entry_is_made_again(file: str, damage: Any, tmp_path: Path) -> None:
    store = DescriptorStore(tmp_path)
    keep(store)
    path = tmp_path / store.key({"a": 1}) / file
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))
    assert store.find({"a": 1}) is None
    keep(store)
    assert store.find({"a": 1}) is not None


def test_every_part_that_decides_a_descriptor_is_in_the_key(tmp_path: Path) -> None:
    chosen = plugins.backbones.select("dino")[0]
    own = tmp_path / "plugin.py"
    own.write_text("one")

    def key(
        of: Selected[Any] = chosen, config: Config = CONFIG, weights: str = "w", images: str = "i", **kept: Any
    ) -> str:
        return DescriptorStore.key(cells.descriptor_key(of, config, weights, images, **kept))

    own_source = replace(chosen, source=own)
    keys = {
        "as it is": key(),
        "weights": key(weights="other"),
        "images": key(images="other"),
        "preprocess": key(replace(chosen, item=replace(chosen.item, preprocess=Preprocess(size=248)))),
        "preprocessing mode": key(config=replace(CONFIG, preprocess="squash:224")),
        "draft": key(config=replace(CONFIG, preprocess="official+draft")),
        "local": key(kind=DescriptorKind(local=True)),
        "grid": key(kind=DescriptorKind(local=True, grid=(7, 7))),
        "dtype": key(dtype="float16"),
        "precision": key(replace(chosen, item=replace(chosen.item, precision="bf16"))),
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
