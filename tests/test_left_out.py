"""What commands leave out and list: blank images, withheld samples, transparency and profiles, decoders' warnings."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from bench.audit.blank import why_blank, withheld
from bench.cli import app
from bench.data.loaded_dataset import GO_ON, LoadedDataset, Policy
from bench.data.unreadable import LeftOut, needed, without
from bench.descriptors import batches
from bench.descriptors.reuse import Reusable
from bench.errors import DatasetError, ImageError
from bench.interfaces import Classes, Dataset, GroundTruth, ImageFile, Levels, Split
from bench.manifest import Name
from bench.names import escaped
from bench.store import DescriptorStore
from tests import store_entries


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def tiles(photo: Path, tmp_path: Path) -> Callable[[str, int], Path]:
    """A new folder of so many tiles of a photograph."""
    whole = Image.open(photo).convert("RGB")

    def make(name: str, n: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(n):
            left, top = 30 * number % 300, 17 * number % 150
            whole.crop((left, top, left + 120, top + 120)).save(folder / f"{name}{number:02d}.png")
        return folder

    return make


# --- blank images --------------------------------------------------------------------------------------------------


def pattern(name: str) -> Image.Image:
    """Images by what they show."""
    rng = np.random.default_rng(0)
    faint = 127 + np.add.outer(np.arange(200), np.arange(200)) // 200
    return {
        "black": Image.new("RGB", (300, 200)),
        "colour": Image.new("RGB", (64, 64), (10, 200, 30)),
        "faint": Image.fromarray(faint.astype(np.uint8)).convert("RGB"),
        "noise": Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)),
        "tiny": Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)),
        "half": Image.fromarray(np.repeat(np.uint8([[[0]], [[255]]]), 100, 0).repeat(100, 1).repeat(3, 2)),
    }[name]


@pytest.mark.parametrize(
    ("name", "blank"),
    [("black", True), ("colour", True), ("faint", True), ("noise", False), ("tiny", False), ("half", False)],
)
def test_blank_is_without_variance_or_edges(name: str, blank: bool) -> None:
    why = why_blank(pattern(name))
    assert (why is not None) is blank
    if name == "faint":
        assert why == "it has no edges (PDQ quality 0)"


def test_blank_images_are_left_out_of_shares_and_clusters(tiles: Callable[[str, int], Path], tmp_path: Path) -> None:
    generated, training = tiles("generated", 2), tiles("training", 12)
    for folder, n in ((generated, 3), (training, 1)):
        for number in range(n):
            Image.new("RGB", (120, 120), (number, 0, 0)).save(folder / f"black{number}.png")
    call = ["audit", "--generated", generated, "--training", training, "--backbones", "dhash", "--top-k", 2]
    call += ["--similarities", "global", "--threshold", "0.95", "--output"]
    ran = bench(*call, tmp_path / "out")
    assert ran.exit_code == 0 and "generated: 3 images are blank and are left out" in ran.output, ran.output
    listed = [f"{row['side']} {row['id']}" for row in table(tmp_path / "out/blank.csv")]
    assert listed == [*(f"generated black{number}.png" for number in range(3)), "training black0.png"]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["blank"] == {"generated": 3, "training": 1}
    assert summary["verdicts"][0]["n_generated"] == 2 and summary["verdicts"][0]["n_training"] == 12
    assert "Generated images that are blank: 3" in (tmp_path / "out/report.html").read_text()
    kept = bench(*call, tmp_path / "kept", "--keep-blank")
    assert kept.exit_code == 0 and not (tmp_path / "kept/blank.csv").exists()
    assert json.loads((tmp_path / "kept/summary.json").read_text())["verdicts"][0]["n_generated"] == 5
    for number in range(1, 4):
        Image.new("RGB", (120, 120), (0, number, 0)).save(training / f"green{number}.png")
    dedup = ["dedup", training, "--backbone", "dhash", "--threshold", "0.99", "--output"]
    assert (
        bench(*dedup, tmp_path / "d").exit_code == 0 and bench(*dedup, tmp_path / "dk", "--keep-blank").exit_code == 0
    )
    found, everything = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("d", "dk"))
    assert (found["n_images"], found["blank"]) == (12, 4) and (everything["n_images"], everything["largest"]) == (16, 4)
    assert all(row["id"].startswith("training") for row in table(tmp_path / "d/duplicates.csv"))


def test_samples_that_a_safety_checker_withheld_are_left_out(tiles: Callable[[str, int], Path], tmp_path: Path) -> None:
    generated, training = tiles("generated", 4), tiles("training", 12)
    rows = ["file,seed,withheld", "generated00.png,0,False", "generated02.png,2,True", "gone.png,3,True"]
    (generated / "manifest.csv").write_text("\n".join(rows) + "\n")
    assert withheld(generated) == dict.fromkeys(
        ("generated02.png", "gone.png"), "the model's safety checker withheld it"
    )
    assert withheld(training) == {} and withheld(tmp_path / "nowhere") == {}
    call = ["audit", "--generated", generated, "--training", training, "--backbones", "dhash", "--top-k", 2]
    assert bench(*call, "--output", tmp_path / "out").exit_code == 0
    (row,) = table(tmp_path / "out/blank.csv")
    assert row == {
        "side": "generated",
        "id": "generated02.png",
        "reason": "the model's safety checker withheld it",
    }
    assert json.loads((tmp_path / "out/summary.json").read_text())["verdicts"][0]["n_generated"] == 3


# --- transparency and profiles -------------------------------------------------------------------------------------


def rows_of(folder: Path) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted((folder / "img_emb").glob("*.npy"))])


def test_alpha_and_colour_change_what_they_name_and_are_in_key_and_record(
    tiles: Callable[[str, int], Path], tmp_path: Path
) -> None:
    folder = tiles("of", 3)
    hidden = np.full((120, 120, 4), 255, np.uint8)
    hidden[..., :3] = np.random.default_rng(1).integers(0, 256, (120, 120, 3))
    hidden[20:, :, 3] = 0
    Image.fromarray(hidden).save(folder / "transparent.png")
    found: dict[str, np.ndarray] = {}
    for alpha in ("white", "black", "drop"):
        out = tmp_path / f"out-{alpha}"
        assert (
            bench("embed", "--backbone", "color", "--images", folder, "--output", out, "--alpha", alpha).exit_code == 0
        )
        found[alpha] = rows_of(out)
        made_from = json.loads((out / "meta.json").read_text())["made_from"]
        assert (made_from["preprocess"]["alpha"], made_from["preprocess"]["colour"]) == (alpha, "ignored")
    opaque, transparent = slice(0, 3), 3
    for alpha in ("black", "drop"):
        assert np.array_equal(found["white"][opaque], found[alpha][opaque])
        assert not np.array_equal(found["white"][transparent], found[alpha][transparent])
    flat = Image.new("RGB", (120, 120), (255, 255, 255))
    flat.paste(Image.fromarray(hidden[:20, :, :3]), (0, 0))
    shutil.rmtree(folder)
    folder.mkdir()
    flat.save(folder / "flat.png")
    assert bench("embed", "--backbone", "color", "--images", folder, "--output", tmp_path / "flat").exit_code == 0
    assert np.array_equal(rows_of(tmp_path / "flat")[0], found["white"][transparent])
    for option in (("--alpha", "drop"), ("--colour", "managed")):
        other = bench("embed", "--backbone", "color", "--images", folder, "--output", tmp_path / "flat", *option)
        assert "made from something else (other preprocess)" in str(other.exception)


def test_a_run_keeps_alpha_and_colour_in_its_records_and_configuration(
    tiles: Callable[[str, int], Path], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        shutil.move(tiles(name, 4), tmp_path / "classes" / name)
    call = ["run", "--backbones", "dhash", "--datasets", f"folder:{tmp_path / 'classes'}", "--similarities", "global"]
    out = tmp_path / "out"
    assert bench(*call, "--output", out, "--alpha", "black", "--colour", "managed").exit_code == 0
    (record,) = (json.loads(path.read_text()) for path in (out / "records").glob("*.json"))
    assert (record["preprocess"]["alpha"], record["preprocess"]["colour"]) == ("black", "managed")
    refused = bench(*call, "--output", out)
    assert "alpha was black, now white; colour was managed, now ignored" in str(refused.exception)
    before = json.loads((out / "run.json").read_text())
    for name in ("alpha", "colour"):
        del before[name]
    (out / "run.json").write_text(json.dumps(before))  # of a version that had no such option
    assert bench(*call, "--output", out).exit_code == 0


# --- warnings ------------------------------------------------------------------------------------------------------


def test_warnings_of_decoders_are_counted_and_not_printed(
    tiles: Callable[[str, int], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tiles("of", 4)
    exif = Image.Exif()
    exif[0x010E] = "a photograph"
    Image.open(folder / "of00.png").save(folder / "odd.jpg", exif=exif)
    content = (folder / "odd.jpg").read_bytes()
    at = content.index(b"Exif\0\0")
    (folder / "odd.jpg").write_bytes(content[: at + 14] + b"\xff\xff" + content[at + 16 :])  # a wrong number of entries
    ran = bench("dedup", folder, "--backbone", "dhash", "--threshold", "0.99", "--output", tmp_path / "out")
    assert ran.exit_code == 0 and "warnings of image decoders about 1 files" in ran.output, ran.output
    rows = table(tmp_path / "out/warnings.csv")
    assert {row["file"] for row in rows} == {str(folder / "odd.jpg")} and all(int(row["count"]) > 0 for row in rows)
    shown = capfd.readouterr()
    assert "Warning" not in shown.err + shown.out + ran.output
    (folder / "odd.jpg").unlink()
    again = ["dedup", folder, "--backbone", "dhash", "--threshold", "0.99", "--output", tmp_path / "out"]
    assert bench(*again).exit_code == 0 and not (tmp_path / "out/warnings.csv").exists()


@pytest.mark.parametrize("name", ["no\0where.png", "gone.png", "x" * 300 + ".png", ".", "fifo.png"])
def test_a_list_names_what_cannot_be_opened(name: str, tiles: Callable[[str, int], Path], tmp_path: Path) -> None:
    folder = tiles("of", 2)
    os.mkfifo(folder / "fifo.png")
    (folder / "list.csv").write_text(f"path\nof00.png\n{name}\nof01.png\n")
    ran = bench("embed", "--backbone", "dhash", "--images", folder / "list.csv", "--output", tmp_path / "out")
    assert ran.exit_code == 0 and "descriptors of 2 images" in ran.output, ran.output + str(ran.exception)
    (row,) = table(tmp_path / "out/unreadable.csv")
    assert row["id"] == escaped(name) and row["reason"].startswith("the image ")


# --- a split without some of its images ----------------------------------------------------------------------------


def split() -> Split:
    """Three queries and five database images, the last of each in both; two setups' worth of judgements."""
    queries = tuple(ImageFile(name, Path(name)) for name in ("q0", "q1", "both"))
    database = tuple(ImageFile(name, Path(name)) for name in ("d0", "d1", "d2", "d3", "both"))

    def truth(*rows: list[int]) -> GroundTruth:
        return GroundTruth(
            tuple(np.array(of, np.int64) for of in rows), (np.array([3]), np.empty(0, int), np.empty(0, int))
        )

    return Split(
        queries,
        database,
        truth([0, 1], [1], []),
        setups={"E": truth([0], [], [2])},
        classes=Classes(np.array([5, 6, 7]), np.array([5, 6, 7, 8, 9])),
        levels=Levels(np.array([0, 1, 2]), np.array([0, 1, 3]), np.array([1.0, 2.0, 3.0])),
        tags=(("a",), ("b",), ("c",)),
    )


@pytest.mark.parametrize(
    ("lost", "wanted"),
    [
        (["d1"], ["d1"]),
        (["d2"], ["d2"]),
        (["d3"], ["d3"]),
        (["both"], ["both"]),
        (["q1", "d0"], ["q1", "d0"]),
        ([], []),
    ],
)
def test_queries_positives_and_judged_images_are_needed(lost: list[str], wanted: list[str]) -> None:
    assert [image.id for image in needed(split(), lost)] == wanted


def test_what_is_left_of_a_split_is_judged_as_before() -> None:
    left = without(split(), {"d1"})
    assert [image.id for image in left.queries] == ["q0", "both"]  # the only positive of q1 is lost
    assert [image.id for image in left.database] == ["d0", "d2", "d3", "both"]
    assert [rows.tolist() for rows in left.ground_truth.positives] == [[0], []]
    assert [rows.tolist() for rows in left.ground_truth.junk] == [[2], []]
    assert [rows.tolist() for rows in left.setups["E"].positives] == [[0], [1]]
    assert left.classes is not None and left.classes.queries.tolist() == [5, 7]
    assert left.classes.database.tolist() == [5, 7, 8, 9]
    assert left.levels is not None and left.tags == (("a",), ("c",))
    assert (left.levels.queries.tolist(), left.levels.database.tolist()) == ([0, 1], [0, 2])
    assert left.levels.level.tolist() == [1.0, 3.0]
    whole = split()
    assert without(whole, {}) is whole


class Given(Dataset):
    """A dataset of a split."""

    given: Split

    def load(self) -> Split:
        return self.given


def given(of: Split) -> Dataset:
    made = Given("given", "copy", "a split")
    object.__setattr__(made, "given", of)
    return made


def test_a_dataset_stops_where_its_ground_truth_needs_what_is_lost(tmp_path: Path) -> None:
    names = ("q0", "q1", "both", "d0", "d1", "d2", "d3")
    for name in names:
        Image.new("RGB", (4, 4), (len(name), ord(name[-1]), 0)).save(tmp_path / f"{name}.png")

    def placed(images: tuple[ImageFile, ...]) -> tuple[ImageFile, ...]:
        return tuple(ImageFile(image.id, tmp_path / f"{image.id}.png") for image in images)

    plain = Split(placed(split().queries), placed(split().database), split().ground_truth)
    whole = LoadedDataset.load(given(plain), None, 0, GO_ON)
    assert whole.judged({}, GO_ON) is whole and len(whole.images) == 7
    kept = whole.judged({"d2": "it is zero"}, GO_ON)
    assert (kept.manifest.n_database, kept.manifest.n_queries, kept.needed) == (4, 3, 0)
    assert kept.manifest.sha256 != whole.manifest.sha256 and kept.manifest.images_sha256 == whole.manifest.images_sha256
    with pytest.raises(DatasetError, match=r"2 images that .* given needs .*: q1 \(gone\); d0 \(zero\)"):
        whole.judged({"q1": "gone", "d0": "zero"}, GO_ON)
    skipped = whole.judged({"q1": "gone", "d0": "zero"}, Policy(skip=True))
    assert (skipped.manifest.n_queries, skipped.needed) == (2, 2) and set(skipped.unreadable) == {"q1", "d0"}
    (tmp_path / "d3.png").unlink()
    missing = LoadedDataset.load(given(plain), None, 0, GO_ON)
    assert list(missing.unreadable) == ["d3"] and "is missing: restore it" in missing.unreadable["d3"]
    assert [image.id for image in missing.images] == [i.id for i in whole.images if i.id != "d3"]
    assert missing.judged({}, GO_ON).manifest.n_database == 4
    with pytest.raises(ImageError, match="is missing"):
        LoadedDataset.load(given(plain), None, 0, Policy(strict=True))


def test_left_out_of_several_backbones_is_joined() -> None:
    joined = LeftOut.joined([LeftOut({"a": "x"}, {"b": "y"}, {".txt": 1}), LeftOut({"c": "z", "a": "w"})])
    assert joined == LeftOut({"a": "w", "c": "z"}, {"b": "y"}, {".txt": 1})
    assert joined.counts == {"unreadable": 2, "blank": 1, "skipped": {".txt": 1}}


# --- the store -----------------------------------------------------------------------------------------------------


def test_rows_of_entries_described_alike_are_taken_over(tmp_path: Path) -> None:
    store, rng = DescriptorStore(tmp_path / "store"), np.random.default_rng(0)
    rows = rng.normal(size=(6, 4)).astype(np.float32)
    store_entries.keep(store, {"how": 1, "images": "a"}, rows)
    store_entries.keep(store, {"how": 2, "images": "a"}, 2 * rows)
    named = store_entries.names(6)
    wanted = [named[4], Name("other id", named[1].content), Name("new", "new content")]
    with store.filling({"how": 1, "images": "b"}, wanted) as writer:
        assert [name.content in writer.reusable for name in wanted] == [True, True, False]
        assert np.array_equal(writer.reusable.rows([wanted[1].content, wanted[0].content]), rows[[1, 4]])
        assert writer.reusable.details == store_entries.DETAILS
    with store.filling({"how": 3, "images": "b"}, wanted) as writer:
        assert not any(name.content in writer.reusable for name in wanted)
    damaged = tmp_path / "store" / store.key({"how": 1, "images": "a"}) / "img_emb/img_emb_0000.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    with store.filling({"how": 1, "images": "b"}, wanted) as writer:
        assert not any(name.content in writer.reusable for name in wanted)
    assert "x" not in Reusable()


@pytest.mark.parametrize("transient", [True, False])
def test_only_failures_that_may_pass_are_tried_again(transient: bool, tmp_path: Path) -> None:
    store, key = DescriptorStore(tmp_path), {"how": 1, "images": "a"}
    rows, named = np.ones((3, 4), np.float32), store_entries.names(4)
    with store.filling(key, named) as writer:
        writer.append(rows[:2], named[:2])
        writer.fail(named[2], "no memory", transient)
        writer.append(rows[2:], named[3:])
        writer.finish(**store_entries.DETAILS)
    found = store.find(key, retry=False)
    assert found is not None and found.failed == {named[2].id: "no memory"} and len(found.descriptors) == 3
    assert (store.find(key) is None) is transient
    with store.filling(key, named) as writer:
        assert writer.whole is not transient
        assert writer.done == (2 if transient else 4) or not writer.whole
        assert (named[3].content in writer.reusable) is transient


def test_a_run_tries_an_image_again_that_failed_for_want_of_memory(
    tiles: Callable[[str, int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        shutil.move(tiles(name, 4), tmp_path / "images" / name)
    references = [f"{name}/{name}0{number}.png" for name in "ab" for number in range(1, 4)]
    (tmp_path / "images/pairs.csv").write_text("query,reference\na/a00.png,a/a01.png\nb/b00.png,b/b01.png\n")
    call = ["run", "--backbones", "dhash", "--datasets", f"pairs:{tmp_path / 'images'}", "--similarities", "global"]
    call += ["--output", tmp_path / "out"]
    load = batches.decoding.load

    def short_of_memory(path: Path, *more: Any) -> Any:
        if path.name == "b03.png":
            raise ImageError(f"the image {path} can't be read (out of memory)") from MemoryError()
        return load(path, *more)

    monkeypatch.setattr(batches.decoding, "load", short_of_memory)
    first = bench(*call)
    assert first.exit_code == 0 and [row["id"] for row in table(tmp_path / "out/unreadable.csv")] == ["b/b03.png"]
    monkeypatch.setattr(batches.decoding, "load", load)
    assert bench(*call).exit_code == 0 and not (tmp_path / "out/unreadable.csv").exists()
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "out/records").glob("*.json"))
    assert record["dataset"]["n_database"] == len(references) and not record["dataset"]["unreadable"]
    monkeypatch.setattr(batches.decoding, "load", short_of_memory)
    assert bench(*call).exit_code == 0 and not (tmp_path / "out/unreadable.csv").exists()
