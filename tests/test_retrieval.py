"""Published retrieval datasets: layouts, protocols, the scores of a run, and what bad input gets."""

import csv
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from bench import images
from bench.cli import app
from bench.errors import DatasetError, ImageError
from bench.interfaces import Box, Dataset, GroundTruth
from bench.plugins import datasets
from bench.published import Published
from datasets import _pickle
from tests.retrieval_sets import BOX, MAKERS, Truth, make_revisited, view, write_mat


def chosen(name: str, folder: Path) -> Published:
    (selected,) = datasets.select(f"{name}:{folder}")
    assert isinstance(selected.item, Published)
    return selected.item


def ids(dataset: Dataset, truth: GroundTruth) -> list[tuple[set[str], set[str]]]:
    """Positives and junk of each query by name."""
    database = dataset.load().database
    parts = zip(truth.positives, truth.junk, strict=True)
    return [({database[row].id for row in good}, {database[row].id for row in bad}) for good, bad in parts]


@pytest.mark.parametrize("name", MAKERS)
def test_published_layouts_are_read_to_the_letter(name: str, tmp_path: Path) -> None:
    truth = MAKERS[name](tmp_path)
    dataset = chosen(name, tmp_path)
    split = dataset.load()
    assert {image.id: image.path for image in split.database} == truth.database
    assert len(split.database) == len(truth.database)
    assert [(image.path, image.box) for image in split.queries] == [(path, box) for path, box, *_ in truth.queries]
    self_excluded = name in ("gpr1200", "cub200")
    assert {image.id for image in split.queries}.isdisjoint(truth.database) != self_excluded
    told = ids(dataset, split.ground_truth)
    assert [good for good, _ in told] == [good for *_, good, _ in truth.queries]
    if not self_excluded:
        assert [junk for _, junk in told] == [junk for *_, junk in truth.queries]


def test_the_three_setups_share_out_easy_hard_and_junk(tmp_path: Path) -> None:
    make_revisited(tmp_path)
    split = chosen("roxford5k", tmp_path).load()
    rows = {setup: [(p.tolist(), j.tolist()) for p, j in zip(t.positives, t.junk, strict=True)]
            for setup, t in split.setups.items()}  # fmt: skip
    assert rows["E"] == [([0, 1], [2, 4]), ([3, 4], [5, 7]), ([], [1, 6, 7, 8])]
    assert rows["M"] == [([0, 1, 2], [4]), ([3, 4, 5], [7]), ([6, 7, 8], [1])]
    assert rows["H"] == [([2], [0, 1, 4]), ([5], [3, 4, 7]), ([6, 7, 8], [1])]
    assert split.ground_truth is split.setups["M"]


def test_distractors_lie_beside_and_only_enlarge_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_revisited(tmp_path / "roxford5k")
    with pytest.raises(DatasetError, match=r"there is no ground truth .*revisitop1m/revisitop1m\.txt"):
        chosen("roxford5k_1m", tmp_path / "roxford5k").load()
    listed = [f"{part}/{number}.jpg" for part in "ab" for number in range(3)]
    for number, name in enumerate(listed):
        view(tmp_path / "revisitop1m/jpg" / name, 1, number)
    (tmp_path / "revisitop1m/revisitop1m.txt").write_text("\n".join(listed) + "\n")
    alone, among = (chosen(name, tmp_path / "roxford5k").load() for name in ("roxford5k", "roxford5k_1m"))
    assert among.database[: len(alone.database)] == alone.database
    assert [image.id for image in among.database[len(alone.database) :]] == [f"revisitop1m/{n}" for n in listed]
    assert among.queries == alone.queries and among.setups.keys() == alone.setups.keys()
    monkeypatch.chdir(tmp_path / "roxford5k")
    here = chosen("roxford5k_1m", Path()).load()
    assert [image.path.resolve() for image in here.database] == [image.path for image in among.database]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "roxford5k").rename(tmp_path / "elsewhere/set")
    (tmp_path / "roxford5k").symlink_to(tmp_path / "elsewhere/set")
    assert chosen("roxford5k_1m", tmp_path / "roxford5k").load().database == among.database
    (tmp_path / "revisitop1m/jpg/b/2.jpg").unlink()
    with pytest.raises(DatasetError, match=r"lacks .*revisitop1m/jpg/b/2\.jpg \(see .*/revisitop1m\.txt, line 6\)"):
        chosen("roxford5k_1m", tmp_path / "roxford5k").load()


def test_photographs_are_found_behind_links_and_in_capitals(tmp_path: Path) -> None:
    truth = MAKERS["rparis6k"](tmp_path / "set")
    (tmp_path / "set/jpg/paris").rename(tmp_path / "elsewhere")
    (tmp_path / "set/jpg/paris").symlink_to(tmp_path / "elsewhere")
    assert {image.id: image.path for image in chosen("rparis6k", tmp_path / "set").load().database} == truth.database
    for path in [*(tmp_path / "elsewhere").rglob("*.jpg")]:
        path.rename(path.with_suffix(".JPG"))
    assert [image.id for image in chosen("rparis6k", tmp_path / "set").load().database] == list(truth.database)


def test_the_usual_place_is_the_folder_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATASETS", str(tmp_path))
    with pytest.raises(DatasetError, match=f"roxford5k is not here: `bench fetch .*{tmp_path}/roxford5k: gnd_"):
        datasets.select("roxford5k")[0].item.load()
    make_revisited(tmp_path / "roxford5k")
    assert len(datasets.select("roxford5k")[0].item.load().queries) == 3
    assert {chosen.item.name for chosen in datasets.select("paper")} >= MAKERS.keys() - {"oxford5k", "paris6k"}
    assert {chosen.item.name for chosen in datasets.select("published")} >= MAKERS.keys()


def ranks_of(scores: list[float], positive: list[bool]) -> list[int]:
    """Zero-based ranks of the positives, which come last among equal scores."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], positive[i]))
    return [rank for rank, i in enumerate(order) if positive[i]]


def expected(truth: Truth) -> dict[str, float]:
    """Mean APs by both rules, hit rate and precision from hashes of the cropped photographs, one query at a time."""
    hashes = {name: hashed(path, None) for name, path in truth.database.items()}
    found = []
    for path, box, good, junk in truth.queries:
        kept = [name for name in hashes if name not in junk]
        wanted = hashed(path, box)
        ranks = ranks_of([-float(wanted - hashes[name]) for name in kept], [name in good for name in kept])
        steps = list(enumerate(ranks))
        trapezoid = sum(((j / r if r else 1.0) + (j + 1) / (r + 1)) / 2 for j, r in steps) / len(good)
        finite = sum((j + 1) / (r + 1) for j, r in steps) / len(good)
        reach = min(ranks[-1] + 1, 5)
        precision = sum(rank < reach for rank in ranks) / reach
        found.append((trapezoid, finite, float(ranks[0] == 0), precision))
    return dict(zip(("map_rop", "map", "hit@1", "mp@5"), np.mean(found, 0).tolist(), strict=True))


def hashed(path: Path, box: Box | None) -> imagehash.ImageHash:
    image = Image.open(path).convert("RGB")
    return imagehash.dhash(image if box is None else image.crop(box))


def test_scores_are_those_of_the_protocols(tmp_path: Path) -> None:
    truths = {name: make(tmp_path / name) for name, make in MAKERS.items()}
    selection = ",".join(f"{name}:{tmp_path / name}" for name in MAKERS)
    options = ("--backbones", "dhash", "--similarities", "global", "--output", str(tmp_path / "out"))
    ran = CliRunner().invoke(app, ["run", "--datasets", selection, *options])
    assert ran.exit_code == 0, ran.output
    told: dict[str, dict[str, float]] = {}
    with (tmp_path / "out/scores.csv").open() as stream:
        for row in csv.DictReader(stream):
            told.setdefault(row["dataset"], {})[row["metric"]] = float(row["value"])
    for name, truth in truths.items():
        wanted = expected(truth)
        assert min(wanted["map_rop"], wanted["map"]) < 0.99  # a perfect ranking would tell nothing
        setup = "[M]" if name in ("roxford5k", "rparis6k") else ""
        compared = wanted.keys() & {metric.removesuffix(setup) for metric in told[name]}
        assert len(compared) >= 2
        for metric in compared:
            measured = told[name].get(metric + setup, told[name].get(metric))
            assert measured == pytest.approx(wanted[metric], abs=1e-9), (name, metric)
    assert {"mp@10[H]", "map_rop[E]"} <= told["rparis6k"].keys()
    assert "knn@20" in told["cub200"]


def changed(**parts: Any) -> Callable[[Path], None]:
    """Writes the annotation with other lists, or other parts of its query 1."""

    def spoil(folder: Path) -> None:
        path = folder / "gnd_roxford5k.pkl"
        content = _pickle.load(path)
        for name, value in parts.items():
            if name in content:
                content[name] = value(content[name])
            else:
                content["gnd"][1][name] = value
        path.write_bytes(pickle.dumps(content, 2))

    return spoil


def in_file(name: str, before: str, after: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after, 1))

    return spoil


def remat(**parts: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        given: dict[str, Any] = {
            "names": ["a.jpg"],
            "queried": ["q.jpg"],
            "entries": [(np.array([[1]]), np.array([[0, 0, 9, 9]]))],
        }
        write_mat(folder / "gnd_instre.mat", **{**given, **parts})

    return spoil


SPOILT: list[tuple[str, Callable[[Path], object], str]] = [
    ("roxford5k", lambda d: (d / "jpg/louvre_000002.jpg").unlink(), r"louvre_000002.jpg \(see .*, imlist, image 8\)"),
    ("roxford5k", lambda d: (d / "jpg/eiffel_000000.jpg").unlink(), r"eiffel_000000.jpg \(see .*, qimlist, image 2\)"),
    ("roxford5k", changed(imlist=lambda n: ["big_ben", *n[1:]]), r"big_ben.jpg \(see .*5k.pkl, imlist, image 1\)"),
    ("roxford5k", lambda d: shutil.rmtree(d / "jpg"), r"lacks jpg/defense_000000.jpg, .* and 9 more"),
    ("roxford5k", lambda d: (d / "gnd_roxford5k.pkl").unlink(), "there is no ground truth .*gnd_roxford5k.pkl"),
    ("roxford5k", changed(hard=[9]), r"query 1 \(eiffel_000000\), hard: there is no image 9 among 9, counted from 0"),
    ("roxford5k", changed(easy=[-1, 3]), r"query 1 .*, easy: there is no image -1"),
    ("roxford5k", changed(easy=["x"]), r"query 1 .*, easy: the images are not a list of row numbers"),
    ("roxford5k", changed(easy=[float("inf")]), r"query 1 .*, easy: the images are not a list of row numbers"),
    ("roxford5k", changed(easy=[0.5]), r"query 1 .*, easy: the images are not a list of row numbers"),
    ("roxford5k", changed(junk=[3]), r"query 1 .*: the image eiffel_000001 is both easy and junk"),
    ("roxford5k", changed(bbx=[5, 5, 5, 9]), r"query 1 .*: the query's box \(5.0, .* is not left, top, right, bottom"),
    ("roxford5k", changed(bbx=[5, 5, float("inf"), 9]), r"query 1 .*: the query's box .* is not left, top"),
    ("roxford5k", changed(bbx=[5, 9, 9, 9]), r"query 1 .*: the query's box .* is not left, top"),
    ("roxford5k", changed(bbx=[[1], [2, 3]]), r"query 1 .*: the query's box is not four numbers"),
    ("roxford5k", changed(easy=[[1], [2, 3]]), r"query 1 .*, easy: the images are not a list of row numbers"),
    ("roxford5k", changed(bbx=[1, 2, 3]), r"query 1 .*: the query's box is not four numbers"),
    ("roxford5k", changed(gnd=lambda gnd: gnd[:2]), "gnd judges 2 queries, qimlist names 3"),
    ("roxford5k", changed(gnd=lambda gnd: [gnd[0], {"bbx": BOX}, gnd[2]]), "query 1 .*: it lacks easy, hard, junk"),
    ("roxford5k", changed(gnd=lambda gnd: 5), "does not hold the lists imlist, qimlist, gnd"),
    ("roxford5k", changed(imlist=lambda n: ["../x", *n[1:]]), r"imlist, image 1: '../x' leads out of"),
    ("roxford5k", changed(imlist=lambda n: [n[1], *n[1:]]), r"imlist, image 2: 'defense_000002' stands there before"),
    ("roxford5k", changed(qimlist=lambda n: [7, *n[1:]]), r"qimlist, image 1: 7 is not the name of an image"),
    ("rparis6k", lambda d: shutil.copytree(d / "jpg/paris", d / "jpg/again"), "share the name 'defense_000000'"),
    ("oxford5k", in_file("lab/eiffel_1_ok.txt", "eiffel_000002", "big_ben"), "eiffel_1_ok.txt, line 1: .* 'big_ben'"),
    ("oxford5k", in_file("lab/eiffel_1_junk.txt", "3", "1"), "eiffel_1_query.txt: .*eiffel_000001 is both positive an"),
    ("oxford5k", lambda d: (d / "lab/eiffel_1_ok.txt").unlink(), "there is no ground truth .*eiffel_1_ok.txt"),
    ("oxford5k", lambda d: (d / "jpg/eiffel_000000.jpg").unlink(), "eiffel_1_query.txt: there is no image 'eiffel_00"),
    ("oxford5k", lambda d: shutil.rmtree(d / "lab"), r"holds no ground truth \*_query.txt: `bench fetch"),
    ("oxford5k", lambda d: shutil.copytree(d / "lab", d / "gt"), "the ground truth lies in .*gt and .*lab: keep one"),
    ("oxford5k", in_file("lab/eiffel_1_query.txt", " 40", ""), "eiffel_1_query.txt: the query's box is not four"),
    ("oxford5k", in_file("lab/eiffel_1_query.txt", "50.5", "3"), r"eiffel_1_query.txt: the query's box \(4.0, 3.4"),
    ("oxford5k", lambda d: (d / "lab/eiffel_1_query.txt").write_text(""), "eiffel_1_query.txt: there is no image ''"),
    ("oxford5k", lambda d: (d / "lab/eiffel_1_ok.txt").write_bytes(b"\xff"), "eiffel_1_ok.txt is not a text file in"),
    ("instre", lambda d: (d / "gnd_instre.mat").unlink(), "there is no ground truth .*gnd_instre.mat: get it from"),
    ("instre", lambda d: (d / "gnd_instre.mat").write_bytes(b"MATLAB 7.3"), "is no MATLAB file before version 7.3"),
    ("instre", lambda d: savemat(d / "gnd_instre.mat", {"gnd": np.eye(2)}), "does not hold the cells imlist and qim"),
    ("instre", remat(entries=[]), "gnd judges 0 queries, qimlist names 1"),
    ("instre", remat(entries=[(np.array([[2]]), np.array([[0, 0, 9, 9]]))]), r"query 0 .*: there is no image 2 am"),
    ("instre", remat(entries=[(np.array([[0]]), np.array([[0, 0, 9, 9]]))]), r"query 0 .*: there is no image 0"),
    ("instre", remat(entries=[(np.array([[1]]), np.array([[9, 9, 5, 5]]))]), r"query 0 .*: the query's box"),
    ("instre", remat(), r"lacks q.jpg, a.jpg \(see .*gnd_instre.mat, qimlist, image 1\): get"),
    ("instre", lambda d: (d / "INSTRE-S1/01a_eiffel/002.jpg").unlink(), r"\(see .*gnd_instre.mat, imlist, image 5\)"),
    ("instre", remat(names=["/etc/x.jpg"]), "imlist, image 1: '/etc/x.jpg' leads out"),
    ("instre", remat(names=[np.eye(2)]), "imlist, image 1: array.* is not the name of an image"),
    ("gpr1200", lambda d: (d / "images/x.jpg").touch(), "name of .*images/x.jpg does not start with the number of its"),
    ("gpr1200", lambda d: shutil.rmtree(d / "images"), "holds no image: `bench fetch"),
    ("cub200", in_file("CUB_200_2011/image_class_labels.txt", "12 3\n", ""), "image_class_labels.txt has 11 images"),
    ("cub200", in_file("CUB_200_2011/train_test_split.txt", "12 1\n", "12 1\n13 0\n"), "split.txt has 13 images"),
    ("cub200", in_file("CUB_200_2011/train_test_split.txt", "12 1", "12 x"), "split.txt, image 12: 'x' is not"),
    ("cub200", in_file("CUB_200_2011/images.txt", "2 001", "1 001"), "images.txt, line 2: the image stands there"),
    ("cub200", in_file("CUB_200_2011/images.txt", "2 001", "2001"), "images.txt, line 2: it is not an id and a value"),
    ("cub200", lambda d: (d / "CUB_200_2011/images.txt").unlink(), "there is no ground truth .*images.txt"),
    ("cub200", lambda d: next(d.rglob("eiffel_1.jpg")).unlink(), r"lacks .*eiffel_1.jpg \(see .*images.txt, line 6\)"),
    ("cub200", in_file("CUB_200_2011/train_test_split.txt", "12 1", "12 2"), "image 12: '2' is neither 1 for tr"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "told"), SPOILT)
def test_bad_input_gets_one_sentence(name: str, spoil: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=told) as raised:
        chosen(name, tmp_path).load()
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value).replace("\\n", "")


def test_a_box_outside_its_photograph_is_told_with_the_file(tmp_path: Path) -> None:
    make_revisited(tmp_path)
    changed(bbx=[100, 100, 200, 200])(tmp_path)
    query = chosen("roxford5k", tmp_path).load().queries[1]
    with pytest.raises(ImageError, match=rf"\(100.0, .*\) leaves nothing of the image {query.path} of 60 x 48"):
        images.decode(query.path, query.box)
