"""A dataset's hash changes with everything that decides its scores, and with nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.errors import DatasetError
from bench.interfaces import Classes, GroundTruth, ImageFile, Levels, Split
from bench.manifest import manifest, unique_images

NOTHING = np.empty(0, np.int64)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Two queries, three database images, and one of everything a split may hold."""
    images = []
    for number in range(5):
        Image.new("RGB", (8, 8), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
        images.append(ImageFile(f"i{number}", tmp_path / f"{number}.png"))
    truth = GroundTruth((np.array([0]), np.array([1, 2])), (np.array([1]), NOTHING))
    return Split(
        tuple(images[:2]),
        tuple(images[2:]),
        truth,
        {"H": GroundTruth((NOTHING, np.array([2])), (NOTHING, NOTHING))},
        Classes(np.array([0, 1]), np.array([0, 1, 1])),
        Levels(np.array([0]), np.array([1]), np.array([3.0])),
        (("crop",), ("blur", "one")),
    )


def moved(split: Split) -> Split:
    """The same images in another folder."""
    folder = split.queries[0].path.parent / "moved"
    folder.mkdir()
    for image in unique_images(split):
        (folder / image.path.name).write_bytes(image.path.read_bytes())
    return replace(
        split,
        **{
            role: tuple(replace(image, path=folder / image.path.name) for image in images)
            for role, images in (("queries", split.queries), ("database", split.database))
        },
    )


def test_a_copy_elsewhere_is_the_same(split: Split) -> None:
    assert manifest(moved(split)) == manifest(split)


CHANGES: dict[str, Callable[[Split], Split]] = {
    "a box": lambda s: replace(s, queries=(replace(s.queries[0], box=(0, 0, 4, 4)), s.queries[1])),
    "the order of queries": lambda s: replace(s, queries=s.queries[::-1]),
    "a positive": lambda s: replace(s, ground_truth=GroundTruth((np.array([2]), NOTHING), s.ground_truth.junk)),
    "junk": lambda s: replace(s, ground_truth=GroundTruth(s.ground_truth.positives, (NOTHING, NOTHING))),
    "a setup's positive": lambda s: replace(s, setups={"H": s.ground_truth}),
    "a setup's name": lambda s: replace(s, setups={"E": s.setups["H"]}),
    "a class": lambda s: replace(s, classes=Classes(np.array([1, 1]), np.array([0, 1, 1]))),
    "a level": lambda s: replace(s, levels=Levels(np.array([0]), np.array([1]), np.array([4.0]))),
    "a levelled pair": lambda s: replace(s, levels=Levels(np.array([0]), np.array([2]), np.array([3.0]))),
    "a tag": lambda s: replace(s, tags=(("crop",), ("blur",))),
}


@pytest.mark.parametrize("name", CHANGES)
def test_everything_that_decides_scores_changes_it(name: str, split: Split) -> None:
    assert manifest(CHANGES[name](split)).sha256 != manifest(split).sha256


def test_descriptors_depend_on_images_and_boxes_alone(split: Split) -> None:
    same = manifest(split).images_sha256
    found = {name: manifest(change(split)).images_sha256 for name, change in CHANGES.items()}
    assert {name for name, sha256 in found.items() if sha256 != same} == {"a box", "the order of queries"}


def test_counts(split: Split) -> None:
    found = manifest(split)
    assert (found.n_queries, found.n_database, found.n_pairs, found.n_junk) == (2, 3, 3, 1)
    assert found.n_queries_without_positive == 0 and found.query_crop is False
    assert manifest(CHANGES["a box"](split)).query_crop is True
    assert manifest(CHANGES["a positive"](split)).n_queries_without_positive == 1


def test_one_id_is_one_part_of_one_file(split: Split) -> None:
    cropped = replace(split.database[0], box=(0, 0, 4, 4))
    with pytest.raises(DatasetError, match="have the same id 'i2'"):
        unique_images(replace(split, queries=(split.queries[0], cropped)))


@pytest.mark.parametrize(("empty", "told"), [("queries", "has no query"), ("database", "has no database image")])
def test_a_dataset_without_images_is_told(empty: str, told: str, split: Split) -> None:
    with pytest.raises(DatasetError, match=told):
        manifest(replace(split, **{empty: ()}))
