"""Published datasets in miniature, in exactly the layout they were published in: read, run, and refused where wrong."""

import csv
import io
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from bench import images
from bench.archives import Limits, unpack
from bench.cli import app
from bench.errors import DatasetError
from bench.interfaces import Split
from bench.plugins import backbones, datasets
from bench.published import Published
from datasets.retrieval.disc21 import CANDIDATES
from datasets.retrieval.eth80 import mask_of
from tests.test_archives import tar_of, zip_of

NAMES = ("holidays", "copydays", "ukbench", "disc21", "drep", "caltech101", "eth80")


def picture(seed: int, noise: float = 0.0) -> Image.Image:
    """A pattern of its own for each seed; with noise, another photograph of the same."""
    cells = np.random.default_rng(seed).uniform(0, 255, (8, 9, 3))
    cells += noise * np.random.default_rng(seed + 7919).normal(0, 60, cells.shape)
    return Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8)).resize((45, 40), Image.Resampling.BICUBIC)


def write(folder: Path, pictures: dict[str, Image.Image]) -> Path:
    for name, image in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
    return folder


def touched(folder: Path, names: Iterable[str]) -> Path:
    """Files without content: reading a ground truth opens no image."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


HOLIDAYS = ("100000", "100001", "100002", "100100", "100101", "100200", "100201", "100202", "100203")


def make_holidays(folder: Path) -> Path:
    write(folder / "jpg", {f"{n}.jpg": picture(int(n) // 100, noise=int(n) % 100) for n in HOLIDAYS})
    text(folder / "eval_holidays/holidays_images.dat", "".join(f"{n}.jpg\n" for n in HOLIDAYS))
    return folder


def make_copydays(folder: Path) -> Path:
    write(folder / "original", {f"{200 + i}{i}00.jpg": picture(i) for i in range(5)})
    write(folder / "strong", {f"{200 + i}{i}{c:02d}.jpg": picture(i, noise=c) for i in range(5) for c in (1, 2)})
    write(folder / "jpegqual/3", {f"{200 + i}{i}01.jpg": picture(i) for i in range(5)})
    write(folder / "crops/10", {f"{200 + i}{i}01.jpg": picture(i) for i in range(5)})
    write(folder / "distractors", {"2000.png": picture(90), "deep/x.jpeg": picture(91)})
    return folder


def make_ukbench(folder: Path) -> Path:
    pictures = {f"full/ukbench{i:05d}.jpg": picture(i // 4, noise=0.6 * (i % 4)) for i in (*range(12), *range(40, 44))}
    write(folder / "thumbnails", {"ukbench00000.th.jpg": picture(0)})
    return write(folder, pictures)


DISC = [("Q00000", ""), ("Q00001", "R000003"), ("Q00002", "R000000"), ("Q00003", ""), ("Q00002", "R000002")]


def make_disc21(folder: Path) -> Path:
    write(folder / "references", {f"R{i:06d}.jpg": picture(i) for i in range(6)})
    seeds = {0: 70, 1: 3, 2: 2, 3: 71, 4: 1}
    write(folder / "queries", {f"Q{i:05d}.jpg": picture(seed, noise=0.4) for i, seed in seeds.items()})
    touched(folder / "training", ["T000000.jpg"])
    return text(folder / "public_ground_truth.csv", "query_id,reference_id\n" + rows(DISC)).parent


def rows(pairs: Iterable[tuple[object, ...]]) -> str:
    return "".join(",".join(map(str, pair)) + "\n" for pair in pairs)


DREP = {"CAP000008": 2, "CAP000013": 4, "CAP000018": 0, "CAP000025": 1, "CAP000329": 5}


def drep_pictures() -> dict[str, tuple[Image.Image, Image.Image]]:
    """The generated and the real image of each pair, less alike the lower the level."""
    return {n: (picture(i, noise=(5 - level) / 3), picture(i)) for i, (n, level) in enumerate(DREP.items())}


def make_drep(folder: Path) -> Path:
    """As the data set's parquet files, the images as Hugging Face packs them, in two shards."""
    table = [
        {"Name": name, "Level": DREP[name], "generated_images": packed(generated), "real_images": packed(real)}
        for name, (generated, real) in drep_pictures().items()
    ]
    (folder / "data").mkdir(parents=True)
    for shard, part in enumerate((table[:3], table[3:])):
        parquet.write_table(pa.Table.from_pylist(part), folder / f"data/Test-{shard:05d}-of-00002.parquet")
    return folder


def packed(image: Image.Image) -> dict[str, object]:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95)
    return {"bytes": stream.getvalue(), "path": "image.jpg"}


def make_drep_folders(folder: Path) -> Path:
    for name, (generated, real) in drep_pictures().items():
        write(folder / "test_pairs", {f"generated_images/{name}.png": generated, f"real_images/{name}.jpg": real})
    text(folder / "labels.csv", "Name,Level\n" + rows([("CAP999999", 3), *DREP.items()]))
    return folder


def make_caltech101(folder: Path) -> Path:
    sizes = {"accordion": 3, "airplanes": 4, "BACKGROUND_Google": 2, "yin_yang": 2}
    for label, (name, size) in enumerate(sizes.items()):
        pictures = {f"image_{i + 1:04d}.jpg": picture(label, noise=i) for i in range(size)}
        write(folder / "101_ObjectCategories" / name, pictures)
    touched(folder / "101_ObjectCategories/BACKGROUND_Google", ["tmp"])
    touched(folder / "Annotations/accordion", ["annotation_0001.mat"])
    return folder


VIEWS = ("000-000", "035-045", "066-153")


def make_eth80(folder: Path) -> Path:
    for label, name in enumerate(("apple1", "apple2", "car14")):
        views = {f"{name}-{view}": picture(label, noise=i) for i, view in enumerate(VIEWS)}
        at = folder / "eth80-cropped-close256" / name
        write(at, {f"{view}.png": image for view, image in views.items()})
        write(at / "maps", {f"{view}-map.png": image.convert("1") for view, image in views.items()})
    return folder


MAKE: dict[str, Callable[[Path], Path]] = {name: globals()[f"make_{name}"] for name in NAMES}


def chosen(spec: str) -> Published:
    found = datasets.select(spec)[0].item
    assert isinstance(found, Published)
    return found


def found_by(split: Split) -> dict[str, set[str]]:
    """The names of what answers each query."""
    positives = zip(split.queries, split.ground_truth.positives, strict=True)
    return {query.path.name: {split.database[row].path.name for row in rows} for query, rows in positives}


def others(groups: Iterable[Iterable[str]]) -> dict[str, set[str]]:
    return {name: {*group} - {name} for group in map(list, groups) for name in group}


# what is read


def test_holidays_queries_find_their_group(tmp_path: Path) -> None:
    split = chosen(f"holidays:{make_holidays(tmp_path)}").load()
    assert found_by(split) == {
        "100000.jpg": {"100001.jpg", "100002.jpg"},
        "100100.jpg": {"100101.jpg"},
        "100200.jpg": {"100201.jpg", "100202.jpg", "100203.jpg"},
    }
    assert [image.path.name for image in split.database] == [f"{n}.jpg" for n in HOLIDAYS]
    assert {image.id for image in split.queries} <= {image.id for image in split.database}


def test_holidays_without_its_list_takes_all_images(tmp_path: Path) -> None:
    make_holidays(tmp_path)
    listed = chosen(f"holidays:{tmp_path}").load()
    (tmp_path / "eval_holidays/holidays_images.dat").rename(tmp_path / "holidays_images.dat")
    beside = chosen(f"holidays:{tmp_path}").load()
    (tmp_path / "holidays_images.dat").unlink()
    assert found_by(chosen(f"holidays:{tmp_path}").load()) == found_by(beside) == found_by(listed)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.integers(1000, 9999), st.integers(0, 99), min_size=1, max_size=12))
def test_holidays_groups_are_those_of_its_evaluation_package(sizes: dict[int, int]) -> None:
    """holidays_map.py goes down the list and starts a group at each name that ends in 00."""
    names = [f"{group}{number:02d}.jpg" for group, size in sorted(sizes.items()) for number in range(size + 1)]
    groups: dict[str, set[str]] = {}
    for name in names:
        if name.endswith("00.jpg"):
            query = name
            groups[query] = set()
        else:
            groups[query].add(name)
    with tempfile.TemporaryDirectory() as folder:
        text(Path(folder) / "eval_holidays/holidays_images.dat", "\n".join(names))
        assert found_by(chosen(f"holidays:{folder}").read()) == groups


def test_copydays_strong_copies_find_their_original_among_distractors(tmp_path: Path) -> None:
    split = chosen(f"copydays:{make_copydays(tmp_path)}").load()
    assert found_by(split) == {f"{200 + i}{i}{c:02d}.jpg": {f"{200 + i}{i}00.jpg"} for i in range(5) for c in (1, 2)}
    # a distractor is no original, whatever it is called
    assert [image.id for image in split.database][5:] == ["distractors/2000.png", "distractors/deep/x.jpeg"]
    assert {image.path.parent.name for image in split.queries} == {"strong"}


def test_ukbench_is_groups_of_four(tmp_path: Path) -> None:
    split = chosen(f"ukbench:{make_ukbench(tmp_path)}").load()
    groups = [[f"ukbench{first + i:05d}.jpg" for i in range(4)] for first in (0, 4, 8, 40)]
    assert found_by(split) == others(groups)
    assert split.queries == split.database and len(split.queries) == 16


def test_disc21_judges_the_queries_that_its_ground_truth_lists(tmp_path: Path) -> None:
    """The public one lists each of 25,000 queries, and the folder has 50,000."""
    split = chosen(f"disc21:{make_disc21(tmp_path)}").load()
    assert found_by(split) == {
        "Q00000.jpg": set(),
        "Q00001.jpg": {"R000003.jpg"},
        "Q00002.jpg": {"R000000.jpg", "R000002.jpg"},
        "Q00003.jpg": set(),
    }
    assert len(split.database) == 6 and chosen(f"disc21:{tmp_path}").candidates == CANDIDATES == 500_000


def test_disc21_without_header_or_strangers(tmp_path: Path) -> None:
    """One that lists matches alone leaves the others out: all queries count."""
    make_disc21(tmp_path)
    (tmp_path / "public_ground_truth.csv").unlink()
    text(tmp_path / "dev_ground_truth.csv", rows(pair for pair in DISC if pair[1]))
    headless = chosen(f"disc21:{tmp_path}").load()
    assert len(headless.queries) == 5 and found_by(headless)["Q00004.jpg"] == set()
    text(tmp_path / "dev_ground_truth.csv", "query_id,reference_id\n" + rows(pair for pair in DISC if pair[1]))
    assert found_by(chosen(f"disc21:{tmp_path}").load()) == found_by(headless)


def test_disc21_with_both_phases_asks_which(tmp_path: Path) -> None:
    """The archives of both phases unpack into images/, the final queries beside the first ones."""
    make_disc21(tmp_path / "images")
    (tmp_path / "images/public_ground_truth.csv").rename(tmp_path / "dev_ground_truth.csv")
    touched(tmp_path / "images/final_queries", ["Q50000.jpg", "Q50001.jpg"])
    text(tmp_path / "final_ground_truth.csv", "query_id,reference_id\nQ50000,R000005\nQ50001,\n")
    with pytest.raises(DatasetError, match=r"judge different queries: name one as disc21:.*dev_ground_truth\.csv"):
        chosen(f"disc21:{tmp_path}").load()
    final = chosen(f"disc21:{tmp_path}/final_ground_truth.csv")
    assert found_by(final.load()) == {"Q50000.jpg": {"R000005.jpg"}, "Q50001.jpg": set()}
    first = chosen(f"disc21:{tmp_path}/dev_ground_truth.csv")
    assert len(first.load().queries) == 4
    assert len({first.identity, final.identity, chosen(f"disc21:{tmp_path}").identity}) == 3


@pytest.mark.parametrize("make", [make_drep, make_drep_folders])
def test_drep_pairs_have_their_levels_and_nothing_is_right(make: Callable[[Path], Path], tmp_path: Path) -> None:
    split = chosen(f"drep:{make(tmp_path)}").load()
    levels = split.levels
    assert levels is not None
    told = zip(levels.queries, levels.database, levels.level, strict=True)
    assert [(split.queries[q].id, split.database[d].id, level) for q, d, level in told] == [
        (f"generated/{name}", f"real/{name}", level) for name, level in DREP.items()
    ]
    assert not any(len(found) for found in split.ground_truth.positives)
    for (generated, real), query, reference in zip(
        drep_pictures().values(), split.queries, split.database, strict=True
    ):
        for expected, file in ((generated, query), (real, reference)):
            difference = np.asarray(expected, float) - np.asarray(images.decode(file.path), float)
            assert np.abs(difference).mean() < 12


def test_caltech101_categories_without_the_background(tmp_path: Path) -> None:
    folder = make_caltech101(tmp_path)
    split = chosen(f"caltech101:{folder}").load()
    assert split.classes is not None and np.bincount(split.classes.queries).tolist() == [3, 4, 2]
    assert {image.id.split("/")[0] for image in split.queries} == {"accordion", "airplanes", "yin_yang"}
    assert [len(found) for found in split.ground_truth.positives] == [2] * 3 + [3] * 4 + [1] * 2
    bare = chosen(f"caltech101:{folder / '101_ObjectCategories'}").load()
    assert [image.id for image in bare.queries] == [image.id for image in split.queries]


def test_eth80_objects_in_both_layouts(tmp_path: Path) -> None:
    folder = make_eth80(tmp_path / "published")
    split = chosen(f"eth80:{folder}").load()
    assert found_by(split) == others([f"{o}-{view}.png" for view in VIEWS] for o in ("apple1", "apple2", "car14"))
    names = [f"apple{o}/apple{o}-000-0{v}0.jpg" for o in (1, 2) for v in (0, 2)]
    touched(tmp_path / "other/images", names)
    touched(tmp_path / "other/masks", [name.replace(".jpg", ".png") for name in names])
    other = chosen(f"eth80:{tmp_path / 'other'}").load()
    assert [image.id for image in other.database] == names
    for image in (*split.database, *other.database):
        assert mask_of(image).is_file() and mask_of(image).name.startswith(image.path.stem)


@pytest.mark.parametrize("name", NAMES)
def test_it_lies_beside_the_other_datasets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path))
    MAKE[name](tmp_path / name)
    here, there = chosen(name), chosen(f"{name}:{tmp_path / name}")
    assert here.load() is not None and here.folder == there.folder
    assert (here.identity, there.identity) == (name, f"{name}:{tmp_path / name}")


def files_of(folder: Path, below: str = "") -> dict[str, bytes]:
    """The files in a part of a folder, by their names there."""
    found = sorted(path for path in (folder / below).rglob("*") if path.is_file())
    return {path.relative_to(folder / below).as_posix(): path.read_bytes() for path in found}


def of_caltech101(folder: Path) -> list[bytes]:
    """A zip around a tar around the images, with what a Macintosh leaves beside them."""
    categories = {name: content for name, content in files_of(folder).items() if name.startswith("101_")}
    inner = tar_of({**categories, "101_ObjectCategories/accordion/._image_0001.jpg": b"x"}, "w:gz")
    zipped = {"caltech-101/101_ObjectCategories.tar.gz": inner, "caltech-101/Annotations.tar": b"", "__MACOSX/._x": b""}
    return [zip_of(zipped)]


ARCHIVES: dict[str, Callable[[Path], list[bytes]]] = {
    "caltech101": of_caltech101,
    "copydays": lambda folder: [tar_of(files_of(folder, part), "w:gz") for part in ("original", "strong")],
    "eth80": lambda folder: [tar_of(files_of(folder), "w:gz")],
    "ukbench": lambda folder: [zip_of(files_of(folder))],
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_published_archives_unpack_to_what_is_read(name: str, tmp_path: Path) -> None:
    made, dataset = MAKE[name](tmp_path / "made"), chosen(f"{name}:{tmp_path / 'fetched'}")
    dataset.folder.mkdir()
    for wanted, content in zip(dataset.downloads, ARCHIVES[name](made), strict=True):
        (tmp_path / "archive").write_bytes(content)
        unpack(tmp_path / "archive", dataset.folder / wanted.path, Limits(1000, 1 << 30), wanted.inner)
    fetched, original = dataset.load(), chosen(f"{name}:{made}").load()
    assert {image.id for image in fetched.database} == {
        image.id
        for image in original.database
        if "distractors" not in image.id  # nobody publishes those
    }
    assert found_by(fetched) == found_by(original)


def test_drep_is_downloaded_to_where_it_is_read() -> None:
    names = [PurePosixPath(wanted.path) for wanted in chosen("drep").downloads]
    assert all(name.match("data/Test-*.parquet") and not name.is_absolute() for name in names)
    assert [wanted.url.rpartition("/main/")[2] for wanted in chosen("drep").downloads] == [str(name) for name in names]


COMPLETE = {
    "ukbench": [f"full/ukbench{i:05d}.jpg" for i in range(10_200)],
    "eth80": [f"eth80-cropped256/o{o}/o{o}-{v}.png" for o in range(80) for v in range(41)],
    "copydays": [
        *(f"original/{2000 + i}00.jpg" for i in range(157)),
        *(f"strong/{2000 + i % 157}{1 + i // 157:02d}.jpg" for i in range(229)),
    ],
    "holidays": [
        *(f"jpg/{1000 + i}00.jpg" for i in range(500)),
        *(f"jpg/{1000 + i % 500}{1 + i // 500:02d}.jpg" for i in range(991)),
    ],
}


@pytest.mark.parametrize("name", COMPLETE)
def test_a_copy_of_the_published_size_has_the_published_counts(name: str, tmp_path: Path) -> None:
    dataset = chosen(f"{name}:{touched(tmp_path, COMPLETE[name])}")
    split = dataset.load()
    positives = split.ground_truth.positives
    told = {
        "n_queries": len(split.queries),
        "n_database": len(split.database),
        "n_pairs": sum(map(len, positives)),
        "n_queries_without_positive": sum(not len(found) for found in positives),
        "n_junk": sum(map(len, split.ground_truth.junk)),
    }
    assert dict(dataset.counts).items() <= told.items() and len(dataset.counts) >= 4


# what is scored


def cosines(split: Split) -> np.ndarray:
    """Similarities [Q, M] of the difference hash, from its bits: multiples of 1/32, so that equal ones are equal."""
    backbone = backbones.select("dhash")[0].item
    model = backbone.load("cpu", None)

    def described(files: Iterable[Path]) -> np.ndarray:
        tensors = [images.transform(images.decode(path), backbone.preprocess)[None] for path in files]
        return np.stack([model.describe(tensor).global_.numpy()[0] for tensor in tensors]).astype(np.int64)

    bits = [described(image.path for image in part) for part in (split.queries, split.database)]
    return np.asarray(bits[0] @ bits[1].T / bits[0].shape[1])


def brute_force(split: Split, scores: np.ndarray) -> dict[str, float | None]:
    """Every metric of these datasets by its published definition, query by query, wrong answers first where equal."""
    per_query: dict[str, list[float]] = {}
    pooled: list[tuple[float, bool]] = []
    pairs: list[int] = []
    for query, positives, row in zip(split.queries, split.ground_truth.positives, scores, strict=True):
        right = set(positives.tolist())
        kept = [(row[i], i in right) for i, image in enumerate(split.database) if image.id != query.id]
        kept.sort(key=lambda answer: (-answer[0], answer[1]))
        pooled += kept
        pairs += [sum(score >= row[i] for score, _ in kept) - 1 for i in right]
        ranks = [rank for rank, (_, is_right) in enumerate(kept) if is_right]
        n = len(ranks)
        if not n:
            continue
        left = [1.0 if r == 0 else j / r for j, r in enumerate(ranks)]
        exact = [(j + 1) / (r + 1) for j, r in enumerate(ranks)]
        values = {
            "map": sum(exact) / n,
            "map_rop": sum((a + b) / 2 for a, b in zip(left, exact, strict=True)) / n,
            "hit@1": float(ranks[0] == 0),
            "recall@10": sum(r < 10 for r in ranks) / n,
            "mrr": 1 / (ranks[0] + 1),
            "r_precision": sum(r < n for r in ranks) / n,
            "map@r": sum(p for p, r in zip(exact, ranks, strict=True) if r < n) / n,
            "ns_score": 1 + sum(r < 3 for r in ranks),
        }
        for name, value in values.items():
            per_query.setdefault(name, []).append(value)
    told: dict[str, float | None] = {name: float(np.mean(values)) for name, values in per_query.items()}
    if pairs:
        told |= {f"pair_recall@{k}": float(np.mean([rank < k for rank in pairs])) for k in (1, 10)}
        told |= of_pool(pooled, len(pairs))
    if split.levels is not None:
        judged = scores[split.levels.queries, split.levels.database]
        told["pearson"] = float(np.corrcoef(judged, split.levels.level)[0, 1])
    return told


def of_pool(pooled: list[tuple[float, bool]], n_pairs: int) -> dict[str, float | None]:
    pooled.sort(key=lambda answer: (-answer[0], answer[1]))
    area, hits = 0.0, 0
    best: tuple[float, float] | None = None
    for rank, (score, is_right) in enumerate(pooled, start=1):
        hits += is_right
        area += hits / rank * is_right / n_pairs
        if hits / rank >= 0.9 and (best is None or hits / n_pairs > best[0]):
            best = hits / n_pairs, score
    return {
        "micro_ap": area,
        "recall@p90": best[0] if best else None,
        "threshold@p90": best[1] if best else None,
    }


def test_a_run_scores_each_by_its_protocol(tmp_path: Path) -> None:
    specs = {name: f"{name}:{make(tmp_path / name)}" for name, make in MAKE.items()}
    chose = ["run", "--backbones", "dhash", "--datasets", ",".join(specs.values()), "--similarities", "global"]
    ran = CliRunner().invoke(app, [*chose, "--output", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    told: dict[str, dict[str, str]] = {}
    for row in csv.DictReader((tmp_path / "out/scores.csv").open()):
        told.setdefault(row["dataset"], {})[row["metric"]] = row["value"]
    not_here = {"knn@20", "relative_deviation"}  # of the metrics' own tests
    for name, spec in specs.items():
        dataset = chosen(spec)
        split = dataset.load()
        expected = brute_force(split, cosines(split))
        assert set(told[name]) == set(dataset.metrics) and set(dataset.metrics) - not_here <= set(expected)
        for metric in set(dataset.metrics) - not_here:
            value = float(told[name][metric]) if told[name][metric] else None
            assert value == pytest.approx(expected[metric], abs=1e-6), (name, metric)


# what is refused

LIST = "eval_holidays/holidays_images.dat"
PUBLIC = "public_ground_truth.csv"


def listed(*names: str) -> Callable[[Path], object]:
    return lambda folder: text(folder / LIST, "".join(f"{name}\n" for name in names))


def public(content: str) -> Callable[[Path], object]:
    return lambda folder: text(folder / PUBLIC, content)


def labels(content: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        shutil.rmtree(folder)
        text(make_drep_folders(folder) / "labels.csv", content)

    return spoil


def shard(row: dict[str, object]) -> Callable[[Path], object]:
    """Another row in the second shard, with the images of a good one."""
    picked = packed(picture(3))

    def spoil(folder: Path) -> None:
        whole = {**row, "generated_images": picked, "real_images": picked}
        parquet.write_table(pa.Table.from_pylist([whole]), folder / "data/Test-00001-of-00002.parquet")

    return spoil


def without_rows(folder: Path) -> None:
    path = folder / "data/Test-00001-of-00002.parquet"
    parquet.write_table(parquet.read_table(path).slice(0, 0), path)


def removed(name: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def added(*names: str) -> Callable[[Path], object]:
    return lambda folder: touched(folder, names)


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def alone(name: str) -> Callable[[Path], object]:
    """One class with one image."""

    def spoil(folder: Path) -> None:
        emptied(folder)
        touched(folder, [name])

    return spoil


DREP_LABELS = "Name,Level\n" + rows(DREP.items())

WRONG: list[tuple[str, Callable[[Path], object], str]] = [
    *((name, emptied, "expected in .*set: ") for name in NAMES),
    ("holidays", removed("jpg/100101.jpg"), r"lacks jpg/100101\.jpg \(see .*dat, line 5\): get it from https"),
    ("holidays", listed("100000.jpg", "1.jpg"), r"holidays_images\.dat, line 2: '1\.jpg' is not the name of an image"),
    ("holidays", listed("100000.jpg", "../../00.jpg"), r"line 2: '\.\./\.\./00\.jpg' is not the name"),
    ("holidays", listed("100000.jpg", "100001.jpg", "100001.jpg"), r"line 3: 100001\.jpg stands there twice"),
    ("holidays", listed("100000.jpg", "100301.jpg"), r"line 2: 100301\.jpg has no query, there is no 100300\.jpg"),
    ("copydays", removed("original/202200.jpg"), r"strong/202201\.jpg has no original: .* begins with '2022'"),
    ("copydays", removed("strong"), r"there is no folder .*strong: `bench fetch datasets copydays:/"),
    ("ukbench", removed("full/ukbench00006.jpg"), r"lacks full/ukbench00006\.jpg: `bench fetch datasets ukbench:/"),
    ("ukbench", added("full/000001.jpg"), r"full/000001\.jpg is not called ukbench and five digits"),
    (
        "disc21",
        public("query_id,reference_id\nQ00001,R000003\nQ00009,\n"),
        r"truth\.csv, line 3: .* query image 'Q00009'",
    ),
    ("disc21", public("Q00001,R000099\n"), r"public_ground_truth\.csv, line 1: there is no reference image 'R000099'"),
    ("disc21", public("query_id\nQ00001\n"), r"public_ground_truth\.csv lacks the column reference_id"),
    ("disc21", public("Q00000,\nQ00001\n"), r"public_ground_truth\.csv, line 2: 'Q00001' is not query_id,reference_id"),
    ("disc21", public("Q00001,R000003\nQ00001,R000003\n"), r"line 2: the pair Q00001, R000003 stands there twice"),
    ("disc21", public("Q00001,R000003\nQ00001,\n"), r"line 2: Q00001 stands in line 1 too, .* has no match"),
    ("disc21", lambda d: (d / PUBLIC).write_bytes(b"Q\xe9,\n"), r"is not a text file in UTF-8"),
    ("disc21", public(""), r"public_ground_truth\.csv is empty"),
    ("disc21", removed(PUBLIC), r"has no ground truth public_ground_truth\.csv or"),
    ("disc21", removed("references"), r"there is no folder .*references"),
    (
        "drep",
        labels(DREP_LABELS.replace("329,5", "329,5.5")),
        r"labels\.csv, line 6: the level '5\.5' is no number from 0",
    ),
    ("drep", labels(DREP_LABELS.replace("013,4", "013,-1")), r"labels\.csv, line 3: the level '-1' is no number"),
    ("drep", labels(DREP_LABELS.replace("013,4", "013,high")), r"labels\.csv, line 3: the level 'high' is no number"),
    ("drep", labels(DREP_LABELS.replace("013,4", "013,nan")), r"labels\.csv, line 3: the level 'nan' is no number"),
    ("drep", labels(DREP_LABELS + "CAP000013,4\n"), r"line 7: CAP000013 is in .*labels\.csv, line 3 already"),
    ("drep", labels(DREP_LABELS.replace("Level", "level")), r"labels\.csv lacks the column Level"),
    (
        "drep",
        labels("Name,Level\nCAP000008,2\n"),
        r"CAP0000(13|18)\.png: there is no pair of that Name in .*labels\.csv",
    ),
    (
        "drep",
        shard({"Name": "CAP000025", "Level": 6}),
        r"00001-of-00002\.parquet, row 0 .*: the level '6' is no number",
    ),
    (
        "drep",
        shard({"Name": "CAP000008", "Level": 1}),
        r"parquet, row 0 .*: CAP000008 is in .*00000-of-00002.* already",
    ),
    ("drep", shard({"Name": "CAP000025"}), r"00001-of-00002\.parquet lacks the column Level"),
    ("drep", without_rows, r"the parquet file .*data/Test-00001-of-00002\.parquet holds no row: get it again"),
    ("drep", added("data/Test-00002-of-00003.parquet"), r"Test-00002-of-00003\.parquet can't be read"),
    ("caltech101", alone("yin_yang/image_0001.jpg"), r"no sub-folder of .* holds two images"),
    ("caltech101", alone("image_0001.jpg"), r"no sub-folder of .* holds two images"),
    ("caltech101", lambda d: (d / "101_ObjectCategories/zebra").mkdir(), r"the folder .*zebra holds no image"),
    ("eth80", alone("images/apple1/apple1-000-000.jpg"), r"no sub-folder of .* holds two images"),
]


@pytest.mark.parametrize(("name", "spoil", "told"), WRONG)
def test_wrong_data_are_refused_in_one_sentence(
    name: str, spoil: Callable[[Path], object], told: str, tmp_path: Path
) -> None:
    folder = MAKE[name](tmp_path / "set")
    spoil(folder)
    with pytest.raises(DatasetError, match=told) as refused:
        chosen(f"{name}:{folder}").load()
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)


def test_drep_pairs_need_both_images(tmp_path: Path) -> None:
    folder = make_drep_folders(tmp_path)
    (folder / "test_pairs/real_images/CAP000018.jpg").unlink()
    with pytest.raises(DatasetError, match=r"labels\.csv, line 5: .*test_pairs lacks the real image of CAP000018"):
        chosen(f"drep:{folder}").load()
    touched(folder, ["test_pairs/real_images/CAP000018.jpg", "test_pairs/real_images/CAP000018.png"])
    with pytest.raises(DatasetError, match=r"are the same image of the pair CAP000018"):
        chosen(f"drep:{folder}").load()


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_not_here_says_where_to_get_it(name: str, tmp_path: Path) -> None:
    dataset = chosen(f"{name}:{tmp_path / 'nowhere'}")
    with pytest.raises(DatasetError, match=r"bench fetch datasets|get it from http") as refused:
        dataset.load()
    assert dataset.layout in str(refused.value) and dataset.licence and dataset.citation
