"""Search and extraction on a real Ray cluster, one of whose worker processes is killed, against this process's own."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from bench import cli_search
from bench import extract as extraction
from bench.cli import app
from bench.describe import Loading
from bench.descriptor import DescriptorKind
from bench.engines import Cluster, Engine
from bench.engines import extraction as on_ray
from bench.engines import search as searching
from bench.errors import BenchError, CheckpointError, DescriptorError, ImageError, UsageError
from bench.extract import GLOBAL
from bench.interfaces import TRAINING_FREE, Backbone, Descriptors, ImageFile, Model, Preprocess
from bench.plugins import Selected, backbones
from bench.records import Config, RunFolder
from bench.similarity import Similarity, TopK, top_k
from bench.similarity.prepare import Rows
from tests.conftest import ROOT

search_app = typer.Typer()
search_app.command()(cli_search.search)
GAUSS = np.random.default_rng(0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and two worker processes on this machine, started in another folder, for this module's tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the user's home
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # whence workers import this module
        import ray

        few = {"num_cpus": 2, "object_store_memory": 2**27, "include_dashboard": False, "log_to_driver": False}
        here = Path.cwd()
        os.chdir(tmp_path_factory.mktemp("elsewhere"))
        ray.init(address="local", _temp_dir=str(tmp_path_factory.getbasetemp()), **few)
        os.chdir(here)
        try:
            with Engine.parse("ray").connected() as connected:
                assert connected is not None
                yield connected
        finally:
            ray.shutdown()


def die_once(mark: Path) -> None:
    """Kills this process, but not a second one."""
    with contextlib.suppress(FileExistsError):
        mark.touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)


def of_file(path: Path) -> Rows:
    return np.load(path, mmap_mode="r", allow_pickle=False)


@dataclass(frozen=True)
class Deadly:
    """A database whose reader dies at a row, the first time."""

    rows: NDArray[np.float32]
    row: int
    mark: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        if isinstance(rows, slice) and rows.start <= self.row < rows.stop:
            die_once(self.mark)
        return self.rows[rows]


def deadly(path: Path, row: int, mark: Path) -> Rows:
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    return Deadly(rows, row, mark, rows.shape, rows.dtype)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """5,003 descriptors [64], every fifth twice, so that there are ties across shards."""
    rows = GAUSS.standard_normal((5003, 64)).astype(np.float32)
    rows[2501:5001:5] = rows[0:2500:5]
    np.save(tmp_path / "database.npy", rows)
    return tmp_path / "database.npy"


def same(found: TopK, wanted: TopK) -> None:
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.scores.view(np.int32), wanted.scores.view(np.int32))


@pytest.mark.parametrize("similarity", ["global", "chunked@16", "chunked@4[norm=chunk]", "global[norm=none]"])
def test_search_is_bit_for_bit_that_of_one_machine(cluster: Cluster, database: Path, similarity: str) -> None:
    queries = np.load(database)[:5000:50] + GAUSS.standard_normal((100, 64)).astype(np.float32) / 2
    wanted = top_k(queries, of_file(database), 20, Similarity.parse(similarity))
    for n_shards in (None, 1, 3):
        told: list[tuple[int, int]] = []
        progress = lambda done, total, told=told: told.append((done, total))  # noqa: E731
        how = Similarity.parse(similarity), progress, n_shards
        same(searching.top_k(cluster, queries, partial(of_file, database), 20, *how), wanted)
        assert told[0] == (0, 5003) and told[-1] == (5003, 5003)
        assert len(told) == 1 + (n_shards or 2 * searching.SHARDS_PER_CPU)


def test_shards_may_be_smaller_than_k(cluster: Cluster) -> None:
    rows = np.repeat(GAUSS.standard_normal((3, 8)).astype(np.float32), 7, axis=0)  # whole shards are ties
    wanted = top_k(rows[:4], rows, 21, Similarity())
    same(searching.top_k(cluster, rows[:4], lambda: rows, 21, Similarity(), n_shards=10), wanted)


def test_local_descriptors_are_searched(cluster: Cluster, tmp_path: Path) -> None:
    rows = GAUSS.standard_normal((41, 9, 6)).astype(np.float16)
    np.save(tmp_path / "x.npy", rows)
    for similarity in map(Similarity.parse, ("cross@tokens", "chunked@tokens/2x2")):
        wanted = top_k(rows[:5], rows, 7, similarity)
        same(searching.top_k(cluster, rows[:5], partial(of_file, tmp_path / "x.npy"), 7, similarity), wanted)


def test_a_killed_search_worker_is_replaced(cluster: Cluster, database: Path, tmp_path: Path) -> None:
    queries = np.load(database)[7:4000:200]
    opening = partial(deadly, database, 3000, tmp_path / "killed")
    found = searching.top_k(cluster, queries, opening, 5, Similarity(chunks=8))
    assert (tmp_path / "killed").exists()
    same(found, top_k(queries, of_file(database), 5, Similarity(chunks=8)))


def always_dies(rows: Rows, here: int) -> Rows:
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows


def test_a_shard_that_kills_every_worker_is_given_up(cluster: Cluster) -> None:
    rows = np.eye(4, dtype=np.float32)
    with pytest.raises(BenchError, match="failed on the Ray cluster, 4 times where a worker died"):
        searching.top_k(cluster, rows, partial(always_dies, rows, os.getpid()), 1, Similarity(), n_shards=1)


def test_what_search_refuses(cluster: Cluster, database: Path, tmp_path: Path) -> None:
    rows = np.load(database)
    search = partial(searching.top_k, cluster)
    with pytest.raises(DescriptorError, match=r"k is 6000, but the database has 5003"):
        search(rows[:2], partial(of_file, database), 6000, Similarity())
    with pytest.raises(DescriptorError, match=r"32 dimensions and the database 64"):
        search(rows[:2, :32], partial(of_file, database), 1, Similarity())
    with pytest.raises(DescriptorError, match=r"^row 1 of the queries is zero"):
        search(rows[:2] * [[1], [0]], partial(of_file, database), 1, Similarity())


def slow_at_first(path: Path) -> Rows:
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    return Slow(rows, rows.shape, rows.dtype)


@dataclass(frozen=True)
class Slow:
    """A database whose first third takes its time."""

    rows: NDArray[np.float32]
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        if isinstance(rows, slice) and rows.start < len(self) // 3:
            time.sleep(0.1)
        return self.rows[rows]


@pytest.mark.parametrize("bad", [[4000], [1600, 1700]])
def test_the_first_row_that_is_not_finite_is_told_as_by_one_machine(
    cluster: Cluster, database: Path, tmp_path: Path, bad: list[int]
) -> None:
    rows = np.load(database)
    rows[bad] = np.nan
    np.save(tmp_path / "bad.npy", rows)
    opening = partial(slow_at_first, tmp_path / "bad.npy")
    for similarity in (Similarity(), Similarity(chunks=8)):
        with pytest.raises(DescriptorError, match=rf"^row {bad[0]} of the database is not finite") as here:
            top_k(rows[:2], of_file(tmp_path / "bad.npy"), 1, similarity)
        with pytest.raises(DescriptorError) as there:
            searching.top_k(cluster, rows[:2], opening, 1, similarity, n_shards=3)
        assert str(there.value) == str(here.value)


def elsewhere(path: Path, here: int, other: Path) -> Rows:
    return of_file(path if os.getpid() == here else other)


def test_a_database_that_workers_do_not_see(cluster: Cluster, database: Path, tmp_path: Path) -> None:
    rows = np.load(database)[:3]
    missing = partial(elsewhere, database, os.getpid(), tmp_path / "none.npy")
    with pytest.raises(BenchError, match=r"can't open the database \(.*none.npy.*\): put it at the same path on every"):
        searching.top_k(cluster, rows, missing, 1, Similarity())
    np.save(tmp_path / "short.npy", rows)
    short = partial(elsewhere, database, os.getpid(), tmp_path / "short.npy")
    with pytest.raises(BenchError, match=r"sees a database of shape \(3, 64\), not \(5003, 64\)"):
        searching.top_k(cluster, rows, short, 1, Similarity())


@dataclass(frozen=True)
class Dying(Backbone):
    """Another backbone in a process that is killed at its second batch, once."""

    inner: Backbone
    mark: Path

    def load(self, device: str, weights_file: Path | None) -> Model:
        return DyingModel(self.inner.load(device, weights_file), self.mark)


class DyingModel:
    n_parameters = 7

    def __init__(self, inner: Model, mark: Path) -> None:
        self.inner, self.mark, self.calls = inner, mark, 0

    def describe(self, batch: Any) -> Descriptors:
        self.calls += 1
        if self.calls == 2:
            die_once(self.mark)
        return self.inner.describe(batch)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> list[ImageFile]:
    """26 parts of a photograph, some cropped by a box."""
    whole, folder = Image.open(photo).convert("RGB"), tmp_path_factory.mktemp("images")
    made = []
    for number in range(26):
        path = folder / f"{number}.png"
        whole.crop((8 * number, 4 * number, 8 * number + 90, 4 * number + 60 + number)).save(path)
        made.append(ImageFile(str(number), path, (5, 5, 80, 50) if number % 3 == 0 else None))
    return made


def loading(backbone: Backbone, batch_size: int = 3) -> Loading:
    config = Config((backbone.name,), (), (), "random", 0, "cpu", batch_size)
    return Loading(Selected(backbone, True, Path(__file__)), config)


def locally(
    loaded: Loading, images: list[ImageFile], kind: DescriptorKind = GLOBAL
) -> tuple[NDArray[np.floating], int | None]:
    import torch

    kept: list[NDArray[np.floating]] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker of one core has it: sums may be in another order with more
    preprocess = loaded.chosen.item.preprocess
    how = extraction.Extraction(preprocess, loaded.config.batch_size, 1, kind=kind)
    extraction.extract(loaded.model, images, how, kept.append)
    torch.set_num_threads(threads)
    return np.concatenate(kept), loaded.model.n_parameters


def how_of(
    loaded: Loading, kind: DescriptorKind = GLOBAL, dtype: extraction.DType = "float32"
) -> extraction.Extraction:
    """How a backbone describes images, by one decoding thread."""
    preprocess, batch_size = loaded.chosen.item.preprocess, loaded.config.batch_size
    return extraction.Extraction(preprocess, batch_size, 1, kind=kind, dtype=dtype)


Extract = Callable[..., tuple[NDArray[np.floating], on_ray.Extracted, list[int]]]


@pytest.fixture
def extract(cluster: Cluster) -> Extract:
    def call(
        loaded: Loading, images: list[ImageFile], kind: DescriptorKind = GLOBAL, dtype: extraction.DType = "float32"
    ) -> tuple[NDArray[np.floating], on_ray.Extracted, list[int]]:
        kept: list[NDArray[np.floating]] = []
        told: list[int] = []
        how = how_of(loaded, kind, dtype)
        made = on_ray.extract(cluster, loaded, images, how, kept.append, told.append)
        return np.concatenate(kept), made, told

    return call


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return replace(backbones.select("efficientnet_lite0")[0].item, preprocess=Preprocess("squash", 64, None))


def test_extraction_with_a_killed_worker_is_that_of_one_machine(
    extract: Extract, images: list[ImageFile], lite0: Backbone, tmp_path: Path
) -> None:
    same_fields = {name: getattr(lite0, name) for name in ("name", "arch", "embed_dim", "preprocess", "weights")}
    dying = Dying(**same_fields, inner=lite0, mark=tmp_path / "killed")
    found, how, told = extract(loading(dying), images)
    assert (tmp_path / "killed").exists()
    wanted, _ = locally(loading(lite0), images)
    np.testing.assert_array_equal(found, wanted)
    assert told == sorted(told) and told[-1] == 26
    assert how.n_parameters == 7 and how.hardware["ray_workers"] == 2
    assert how.throughput.n_images == 26 and how.throughput.images_per_s > 0


PLUGIN = """
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone


class Pixels:
    def __init__(self, weights_file):
        self.n_parameters = int(weights_file.read_text()) if weights_file else None

    def describe(self, batch):
        cells = batch.float().flatten(2).transpose(1, 2)
        return Descriptors(cells.flatten(1), cells)


class PixelsBackbone(Backbone):
    def load(self, device, weights_file):
        return Pixels(weights_file)


@register_backbone()
def pixels_of_a_file() -> Backbone:
    squashed = Preprocess("squash", 4, None, "bilinear", None, None)
    return PixelsBackbone("pixels_of_a_file", "pixels", 48, squashed, Weights(WEIGHTS, "", "none"))
"""


def test_images_that_workers_do_not_see(extract: Extract, images: list[ImageFile], lite0: Backbone) -> None:
    gone = ImageFile("gone", images[0].path.with_name("gone.png"))
    with pytest.raises(ImageError, match=r"gone.png can't be read \(no such file\).*worker on .* must see the images"):
        extract(loading(lite0, 5), [*images[:4], gone])


def test_what_an_actor_refuses(images: list[ImageFile], lite0: Backbone, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    row = {name: [values] for name, values in on_ray._row([ImageFile("text", tmp_path / "text.png")]).items()}
    described = on_ray.Describing(loading(lite0), how_of(loading(lite0)))(row)
    (account,) = map(json.loads, described["account"])
    ((place, why),) = account["failed"]
    assert (place, account["n_images"], described["rows"]) == (0, 1, [b""])
    assert "text.png can't be read" in why and why.endswith(": replace it or leave it out")
    with pytest.raises(CheckpointError, match=r"does not see the weights .*gone.pth: let BENCH_HOME be"):
        on_ray.Describing(replace(loading(lite0), file=tmp_path / "gone.pth"), how_of(loading(lite0)))(row)


def test_devices_that_the_cluster_lacks(cluster: Cluster) -> None:
    assert cluster == Cluster(2, 0)
    with pytest.raises(UsageError, match=r"has 2 CPU cores and 0 GPUs, but cuda:0 takes a GPU and CPU core"):
        cluster.workers("cuda:0")
    with pytest.raises(UsageError, match=r"has 0 CPU cores and 2 GPUs, but cpu takes a CPU core"):
        Cluster(0, 2).workers("cpu")
    assert Cluster(4, 3).workers("cuda") == 3 and Cluster(4, 3).workers("cpu") == 4


@pytest.mark.parametrize("text", ["local", "ray", "ray:10.0.0.7:6379", "ray:[::1]:6379"])
def test_engines_print_as_they_are_written(text: str) -> None:
    assert str(Engine.parse(text)) == text


@pytest.mark.parametrize("text", ["", "rays", "local:1", "ray:", "ray:host", "ray:host:port", "ray:ray://host:10001"])
def test_unknown_engines(text: str) -> None:
    with pytest.raises(UsageError, match=r"there is no engine '.*': write local, ray or ray:HOST:PORT"):
        Engine.parse(text)


def test_the_local_engine_has_no_cluster() -> None:
    with Engine.parse("local").connected() as cluster:
        assert cluster is None


def test_no_ray_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # the other tests' cluster is not meant
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening: nobody else gets the port meanwhile
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                UsageError, match=rf"no Ray cluster can be used at 127.0.0.1:{port} \(.*refused\): start one"
            ),
            Engine.parse(f"ray:127.0.0.1:{port}").connected(),
        ):
            pass


def test_what_listens_at_the_address_is_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray ends the process after more than a minute, which is not waited for here."""
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: sys.exit(15))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        told = rf"^no Ray cluster can be used at {address} \(what answers there is no Ray head\): start one"
        with pytest.raises(UsageError, match=told), Engine.parse(f"ray:{address}").connected():
            pass


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match=r"--engine ray needs Ray: pip install 'ray\[data\]'"),
        Engine.parse("ray").connected(),
    ):
        pass


def test_a_run_on_ray_has_the_scores_of_one_machine(
    cluster: Cluster, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pixels.py").write_text(PLUGIN.replace("WEIGHTS", repr(TRAINING_FREE)))
    scores = {}
    for engine in ("local", "ray"):
        monkeypatch.setenv("BENCH_HOME", str(tmp_path / engine))  # a store of its own
        chosen = ["--backbones", "pixels_of_a_file", "--datasets", f"disc:{small}", "--engine", engine]
        options = ["--plugin", str(tmp_path / "pixels.py"), "--output", str(tmp_path / f"run-{engine}")]
        result = CliRunner().invoke(app, ["run", *chosen, *options])
        assert result.exit_code == 0, result.output
        (record, _) = RunFolder.existing(tmp_path / f"run-{engine}").records()
        scores[engine] = record.body["metrics"]
        assert record.body["backbone"]["params_m"] is None
        assert (record.body["throughput"] is None) == (engine == "ray")  # a cluster's speed is not a machine's
    assert scores["ray"] == scores["local"]


@pytest.mark.parametrize("form", ["x.npy", "x.parquet#second"])
def test_the_search_command_on_ray(
    cluster: Cluster, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Files at relative paths, which workers in another folder would not find."""
    monkeypatch.chdir(tmp_path)
    rows = np.load(database)
    np.save("x.npy", rows)
    lists = [pa.FixedSizeListArray.from_arrays(pa.array(of.ravel()), 64) for of in (rows[::-1], rows)]
    parquet.write_table(pa.table(lists, ["first", "second"]), "x.parquet")
    files = ["--queries", form, "--database", form, "--similarity", "chunked@8", "--top-k", "3"]
    for engine in ("local", "ray"):
        told = CliRunner().invoke(search_app, [*files, "--output", f"{engine}.parquet", "--engine", engine])
        assert told.exit_code == 0, told.output
    assert Path("ray.parquet").read_bytes() == Path("local.parquet").read_bytes()
    options = ["--output", "other.csv", "--index", "faiss:Flat", "--engine", "ray"]
    refused = CliRunner().invoke(search_app, [*files, *options])
    assert isinstance(refused.exception, UsageError) and "searched by one machine" in str(refused.exception)


def test_the_embed_command_on_ray(
    cluster: Cluster, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single file's plugin, whose weights, like all else, are at a relative path that workers would not find."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_HOME", "cache")
    Path("weights.txt").write_text("7")
    Path("pixels.py").write_text(PLUGIN.replace("WEIGHTS", repr("file:weights.txt")))
    Path("images").symlink_to(small / "references")
    half = ["--descriptor", "local/2x2", "--dtype", "float16"]
    for engine in ("local", "ray"):
        chosen = ["--backbone", "pixels_of_a_file", "--images", "images", "--output", engine, "--engine", engine]
        ran = CliRunner().invoke(app, ["embed", *chosen, "--plugin", "pixels.py", "--batch-size", "5", *half])
        assert ran.exit_code == 0 and "descriptors of 12 images" in ran.output, ran.output
    local, on_ray = ({p.relative_to(f): p for p in f.rglob("*.*")} for f in (Path("local"), Path("ray")))
    assert local.keys() == on_ray.keys() and len(local) == 3
    told = [json.loads(files.pop(Path("meta.json")).read_text()) for files in (local, on_ray)]
    assert [path.read_bytes() for path in on_ray.values()] == [local[name].read_bytes() for name in on_ray]
    assert told[0]["made_from"] == told[1]["made_from"] and told[1]["n_parameters"] == 7
    found = np.load(on_ray[Path("img_emb/img_emb_0000.npy")], allow_pickle=False)
    assert found.dtype == np.float16 and found.shape == (12, 4, 3)
    assert "ray_workers" in told[1]["hardware"] and "ray_workers" not in told[0]["hardware"]


def test_the_embed_command_refuses_what_run_refuses(tmp_path: Path) -> None:
    chosen = ["--backbone", "color", "--images", str(tmp_path), "--output", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, ["embed", *chosen, "--engine", "spark"])
    assert "there is no engine 'spark': write local, ray or ray:HOST:PORT" in str(refused.exception)
    assert not (tmp_path / "out").exists()
