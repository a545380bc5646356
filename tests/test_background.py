"""The background set: a folder or a dataset, and never the images of the test."""

import shutil
from pathlib import Path

import pytest

from bench.background import Background
from bench.errors import DatasetError, UsageError
from bench.manifest import hashes
from bench.plugins import datasets


def test_a_folder_gives_its_images_below_it_in_order(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("z.png", "b/a.PNG", "a.png"):
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    loaded = Background.parse(str(tmp_path)).load()
    assert [image.id for image in loaded.images] == ["a.png", "b/a.PNG", "z.png"]
    assert loaded.identity == str(tmp_path.resolve())


def test_a_dataset_gives_its_database(small: Path) -> None:
    loaded = Background.parse(f"disc:{small}").load()
    split = datasets.select(f"disc:{small}")[0].item.load()
    assert list(loaded.images) == list(split.database)


@pytest.mark.parametrize("text", ["no_such_folder", "demo"])
def test_what_is_neither_a_folder_nor_one_dataset_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"the background '{text}' is"):
        Background.parse(text)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no images"):
        Background.parse(str(tmp_path)).load()


def test_an_image_of_the_test_is_found_under_any_name(small: Path, tmp_path: Path) -> None:
    split = datasets.select(f"disc:{small}")[0].item.load()
    hashed = hashes([*split.database, *split.queries])
    shutil.copy(small / "queries" / "q3.jpg", tmp_path / "innocent.jpg")
    told = r"the image queries/q3 of small is also in the background .* \(as innocent\.jpg\)"
    with pytest.raises(DatasetError, match=told):
        Background.parse(str(tmp_path)).load().require_apart("small", hashed)


def test_other_images_are_apart(small: Path, tmp_path: Path, photo: Path) -> None:
    split = datasets.select(f"disc:{small}")[0].item.load()
    shutil.copy(photo, tmp_path / "photo.png")
    background, hashed = Background.parse(str(tmp_path)).load(), hashes([*split.database, *split.queries])
    background.require_apart("small", hashed)
    assert len(background.hashed) == 1 and not set(background.hashed.values()) & set(hashed.values())
