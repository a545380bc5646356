"""`audit` against planted truth: known copies, images that can't be read, a set against itself, descriptors."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from scipy.stats import binomtest, ks_2samp
from typer.testing import CliRunner

from bench.cli import app

Audit = Callable[..., Result]


@pytest.fixture(scope="module")
def data(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 training tiles of a photograph, two of them the same file; 12 generated images, 5 of them copies of tiles."""
    place = tmp_path_factory.mktemp("audit")
    image = Image.open(photo).convert("RGB")
    (place / "training").mkdir()
    (place / "generated/of").mkdir(parents=True)
    boxes = [(x, y, x + 75, y + 75) for y in (0, 56, 112, 168, 224) for x in (0, 75, 150, 225, 300, 375)]
    for number, box in enumerate(boxes):
        image.crop(box).save(place / f"training/t{number:02d}.png")
    (place / "training/twin.png").write_bytes((place / "training/t03.png").read_bytes())
    rng = np.random.default_rng(0)
    for number in range(12):
        copied = image.crop(boxes[4 * number]) if number < 5 else None
        made = copied or Image.fromarray(rng.integers(0, 256, (75, 75, 3), np.uint8))
        made.resize((150, 150)).save(place / f"generated/of/g{number:02d}.jpg", quality=85)
    return place


@pytest.fixture
def audit(data: Path, tmp_path: Path) -> Audit:
    """The command on the two folders, or others, by dhash."""

    def call(*options: object, generated: object = data / "generated", training: object = data / "training") -> Result:
        sides = ["--generated", str(generated), "--training", str(training), "--backbones", "dhash"]
        return CliRunner().invoke(app, ["audit", *sides, "--output", str(tmp_path / "out"), *map(str, options)])

    return call


def summary(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "out/summary.json").read_text())
    return found


def test_planted_copies_are_found_and_counted(audit: Audit, tmp_path: Path) -> None:
    ran = audit("--threshold", 0.85, "--top-k", 5, "--similarities", "global")
    assert ran.exit_code == 0, ran.output
    table = pd.read_csv(tmp_path / "out/matches.csv")
    assert len(table) == 12 * 5 and table["rank"].tolist() == [1, 2, 3, 4, 5] * 12
    first = table[table["rank"] == 1].set_index("generated_id")
    for number in range(5):
        assert first.loc[f"of/g{number:02d}.jpg", "training_id"] == f"t{4 * number:02d}.png"
    (told,) = summary(tmp_path)["verdicts"]
    (above,) = told["above"]
    assert (above["threshold"], above["score"]) == ("0.85", 0.85)
    assert (above["generated"]["k"], above["generated"]["n"], told["n_training"]) == (5, 12, 31)
    low, high = binomtest(5, 12).proportion_ci(method="wilson")
    assert (above["generated"]["low"], above["generated"]["high"]) == pytest.approx((low, high))
    assert told["top1"]["p50"] == pytest.approx(np.median(first["score"]))
    # the twin counts as no neighbour of its tile
    assert told["background"]["n"] == above["training"]["n"] == 31 and above["training"]["k"] == 0
    assert f"{100 * 5 / 12:.2f}" in ran.output and f"{100 * low:.2f} to {100 * high:.2f}" in ran.output
    assert set(told["correlations"]) == {"near_copies", "entropy", "jpeg_bytes"}
    assert told["correlations"]["entropy"]["n"] == 12 and -1 <= told["correlations"]["entropy"]["spearman"] <= 1
    parquet = pd.read_parquet(tmp_path / "out/matches.parquet")
    assert parquet["training_id"].tolist() == table["training_id"].tolist()
    assert parquet["score"].to_numpy() == pytest.approx(table["score"].to_numpy(), abs=1e-6)
    assert parquet["generated_chunk"].isna().all()


def test_the_background_is_that_of_all_pairs(audit: Audit, tmp_path: Path) -> None:
    assert audit("--similarities", "global", "--top-k", 31).exit_code == 0
    against_itself = tmp_path / "itself"
    table = pd.read_parquet(tmp_path / "out/matches.parquet")
    best = table[table["rank"] == 1]["score"].to_numpy()
    options = ["--similarities", "global", "--top-k", "30", "--output", str(against_itself)]
    ran = audit(*options, generated=summary(tmp_path)["training"])
    assert ran.exit_code == 0 and "both sides are the same images" in ran.output, ran.output
    own = pd.read_parquet(against_itself / "matches.parquet")
    assert (own["generated"] != own["training"]).all()
    pairs = set(zip(own["generated_id"], own["training_id"], strict=True))
    assert ("t03.png", "twin.png") not in pairs and ("twin.png", "t03.png") not in pairs
    nearest = own[own["rank"] == 1]["score"].to_numpy()
    told = summary(tmp_path)["verdicts"][0]["background"]
    assert told["ks"] == pytest.approx(ks_2samp(best, nearest).statistic)
    assert told["difference"] == pytest.approx(best.astype(float).mean() - nearest.astype(float).mean(), abs=1e-6)
    itself = json.loads((against_itself / "summary.json").read_text())
    assert itself["is_self"] and itself["verdicts"][0]["background"] is None


def test_the_chunk_that_gave_the_score_is_told(audit: Audit, tmp_path: Path) -> None:
    assert audit("--similarities", "chunked@4[norm=chunk]", "--top-k", 3).exit_code == 0
    table = pd.read_csv(tmp_path / "out/matches.csv")
    assert table["generated_chunk"].isin(range(4)).all() and len(set(table["generated_chunk"])) > 1
    assert (table["generated_chunk"] == table["training_chunk"]).all()


def test_unreadable_images_are_listed_and_stop_nothing(audit: Audit, data: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for path in (data / "generated/of").glob("*.jpg"):
        (mixed / path.name).write_bytes(path.read_bytes())
    (mixed / "cut.jpg").write_bytes((data / "generated/of/g00.jpg").read_bytes()[:200])
    (mixed / "text.png").write_text("no image")
    ran = audit("--similarities", "global", generated=mixed)
    assert (
        ran.exit_code == 0
        and "generated: 2 images can't be read or described and are left out; the first is cut.jpg: the image "
        in ran.output
    )
    listed = pd.read_csv(tmp_path / "out/unreadable.csv")
    assert sorted(listed["id"]) == ["cut.jpg", "text.png"] and set(listed["side"]) == {"generated"}
    assert summary(tmp_path)["unreadable"] == {"generated": 2, "training": 0}
    assert summary(tmp_path)["verdicts"][0]["n_generated"] == 12


def test_descriptors_give_the_same_as_their_images(audit: Audit, data: Path, tmp_path: Path) -> None:
    assert audit("--similarities", "global,chunked@4").exit_code == 0
    before = pd.read_parquet(tmp_path / "out/matches.parquet")
    for side in ("generated", "training"):
        options = ["--backbone", "dhash", "--images", str(data / side), "--output", str(tmp_path / side)]
        assert CliRunner().invoke(app, ["embed", *options]).exit_code == 0
    other = ["--output", tmp_path / "other", "--similarities", "global,chunked@4"]
    ran = audit(*other, generated=tmp_path / "generated", training=tmp_path / "training")
    assert ran.exit_code == 0, ran.output
    pd.testing.assert_frame_equal(before, pd.read_parquet(tmp_path / "other/matches.parquet"))


def test_descriptors_in_parquet_are_no_images(audit: Audit, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for side, n in (("a", 5), ("b", 30)):
        rows = pd.DataFrame({"image_path": [f"{side}{row}" for row in range(n)]})
        rows["emb"] = list(rng.normal(size=(n, 8)).astype(np.float32))
        rows.to_parquet(tmp_path / f"{side}.parquet")
    ran = audit("--similarities", "global", generated=tmp_path / "a.parquet", training=f"{tmp_path / 'b.parquet'}#emb")
    assert ran.exit_code == 0, ran.output
    table = pd.read_csv(tmp_path / "out/matches.csv")
    assert table["generated_id"].tolist()[::20] == [f"a{row}" for row in range(5)] and len(table) == 100


def test_descriptors_made_otherwise_are_refused(audit: Audit, data: Path, tmp_path: Path) -> None:
    for side, backbone in (("generated", "dhash"), ("training", "phash")):
        options = ["--backbone", backbone, "--images", str(data / side), "--output", str(tmp_path / side)]
        assert CliRunner().invoke(app, ["embed", *options]).exit_code == 0
    ran = audit(generated=tmp_path / "generated", training=tmp_path / "training")
    assert ran.exit_code != 0
    assert "were not described alike (backbone is dhash there and phash here" in str(ran.exception)
    ran = audit(generated=tmp_path / "generated")
    assert "holds descriptors and" in str(ran.exception) and "`embed` it too" in str(ran.exception)


def test_one_that_fails_is_told_and_the_others_go_on(audit: Audit, tmp_path: Path) -> None:
    ran = audit("--similarities", "global,chunked@7")
    assert ran.exit_code == 3 and "dhash, chunked@7: chunked@7 can't cut 64 dimensions into equal chunks" in ran.output
    assert [of["similarity"] for of in summary(tmp_path)["verdicts"]] == ["global"]
    assert list(summary(tmp_path)["failed"]) == ["dhash, chunked@7"]


def test_wrong_calls_are_one_sentence(audit: Audit, data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no images" in str(audit(generated=tmp_path / "empty").exception)
    assert "is no folder" in str(audit(generated=tmp_path / "nowhere").exception)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").write_text("no image")
    assert "none of 1 images can be read: the image " in str(audit(training=tmp_path / "bad").exception)
    (tmp_path / "same").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "same" / name).write_bytes((data / "training/t00.png").read_bytes())
    assert "all training images are the same" in audit("--top-k", 1, training=tmp_path / "same").output
    ran = audit("--top-k", 32)
    assert "--top-k is 32, but there are 31 training images" in str(ran.exception)
    ran = audit("--output", data / "training/deep/out")
    assert "training, which its figures would join: choose another" in str(ran.exception)
    assert not (tmp_path / "out").exists()


def test_a_rate_of_false_alarms_becomes_a_threshold(audit: Audit, tmp_path: Path) -> None:
    ran = audit("--similarities", "global,chunked@4", "--threshold", "fpr:0.05", "--top-k", 1)
    assert ran.exit_code == 0, ran.output
    for told in summary(tmp_path)["verdicts"]:
        assert [above["threshold"] for above in told["above"]] == ["0.5", "fpr:0.05"]
        assert f"{told['above'][1]['score']:.4f} (fpr:0.05)" in ran.output
    ran = audit("--threshold", "fpr:1e-9")
    assert ran.exit_code == 3
    assert "fpr:1e-09 can't be told from 464 pairs of different images: choose a larger rate" in ran.output


def test_near_copies_inside_a_set_are_clusters(data: Path, tmp_path: Path) -> None:
    training = tmp_path / "training"
    training.mkdir()
    for path in sorted((data / "training").glob("*.png")):
        (training / path.name).write_bytes(path.read_bytes())
    for name, of in (("again.jpg", "t03.png"), ("once.jpg", "t10.png")):
        Image.open(training / of).save(training / name, quality=80)
    (training / "text.png").write_text("no image")
    options = ["--backbone", "dhash", "--output", str(tmp_path / "out")]
    ran = CliRunner().invoke(app, ["dedup", str(training), "--threshold", "0.85", *options])
    assert ran.exit_code == 0, ran.output
    assert "5 of 33 images (15.15 %) have near-copies, in 2 clusters of 3 images at most" in ran.output
    assert "images: 1 image can't be read or described and is left out" in ran.output
    table = pd.read_csv(tmp_path / "out/duplicates.csv")
    members = table.groupby("cluster")["id"].apply(set).to_dict()
    assert members == {0: {"again.jpg", "t03.png", "twin.png"}, 1: {"once.jpg", "t10.png"}}
    assert table["neighbours"].tolist() == [2, 2, 2, 1, 1] and table["size"].tolist() == [3, 3, 3, 2, 2]
    told = summary(tmp_path)
    assert (told["n_duplicated"], told["n_clusters"], told["largest"], told["unreadable"]) == (5, 2, 3, 1)
    other = ["--backbone", "dhash", "--images", str(data / "training"), "--output", str(tmp_path / "described")]
    assert CliRunner().invoke(app, ["embed", *other]).exit_code == 0
    again = ["dedup", str(tmp_path / "described"), "--threshold", "fpr:0.01", "--output", str(tmp_path / "other")]
    ran = CliRunner().invoke(app, again)
    assert ran.exit_code == 0 and "dhash, global, above 0." in ran.output, ran.output
    ran = CliRunner().invoke(
        app, ["dedup", str(training), "--threshold", "0.9", "--backbone", "dhash,phash", *options[2:]]
    )
    assert "'dhash,phash' is 2 backbones: name one" in str(ran.exception)
