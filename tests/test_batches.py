"""Decoding ahead of the model: in order, in bounded memory, whatever fails, and without waiting for each other."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.descriptors import batches
from bench.descriptors.batches import Batch, at_most, stacked
from bench.errors import BenchError, DescriptorError, ImageError
from bench.extract import Extraction, extract
from bench.interfaces import NATIVE, Descriptors, ImageFile, Preprocess
from tests.conftest import ROOT

SMALL = Preprocess("squash", 4, None, "bilinear", None, None)


def painted(folder: Path, sizes: Sequence[tuple[int, int]], broken: Sequence[int] = ()) -> list[ImageFile]:
    """Images of a grey that is their number."""
    files = []
    for number, size in enumerate(sizes):
        path = folder / f"{number:03d}.png"
        Image.new("RGB", size, (number, number, number)).save(path)
        if number in broken:
            path.write_bytes(path.read_bytes()[:40])
        files.append(ImageFile(f"{number}", path))
    return files


def numbers(batch: Batch) -> dict[str, int]:
    """The grey of each image of a batch, by its id."""
    return {
        batch.images[place].id: int(pixels[row, 0, 0, 0])
        for places, pixels in batch.parts
        for row, place in enumerate(places)
    }


@pytest.mark.parametrize("batch_size", [1, 3, 50])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("broken", [[], [0], [1, 2, 3], list(range(20))])
def test_every_image_comes_once_in_its_order(batch_size: int, workers: int, broken: list[int], tmp_path: Path) -> None:
    files = painted(tmp_path, [(3 + n % 3, 5) for n in range(20)], broken)
    for preprocess in (NATIVE, SMALL):
        found = list(batches.batches(files, preprocess, batch_size, workers, "cpu"))
        assert [batch.size for batch in found] == [min(batch_size, 20 - n) for n in range(0, 20, batch_size)]
        assert [image.id for batch in found for image, _ in batch.failed] == [str(n) for n in broken]
        assert all(
            isinstance(error, ImageError) and image.path.name in str(error) for b in found for image, error in b.failed
        )
        assert [n for batch in found for n in numbers(batch).items()] != [] or len(broken) == 20
        kept = {name: n for batch in found for name, n in numbers(batch).items()}
        assert kept == {str(n): n for n in range(20) if n not in broken}
        assert [image.id for batch in found for image in batch.images] == list(kept) or batch_size > 1


def test_batches_of_large_images_are_smaller_and_threads_wait_for_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_BYTES", 3 * 1000)
    monkeypatch.setattr(batches, "WAITING_BYTES", 3 * 1500)
    files = painted(tmp_path, [(20, 20)] * 30)
    decoded: list[str] = []
    load = batches.decoding.load

    def noted(path: Path, *more: object) -> torch.Tensor:
        decoded.append(path.name)
        return load(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(batches.decoding, "load", noted)
    found = batches.batches(files, NATIVE, 16, 3, "cpu")
    first = next(found)
    assert first.size == 3  # the third reaches 1,000 pixels
    time.sleep(0.3)  # threads go on as far as they may
    assert len(decoded) < 12
    assert [batch.size for batch in found] == [3] * 9 and len(decoded) == 30


def test_leaving_early_ends_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WAITING_BYTES", 1)
    files = painted(tmp_path, [(20, 20)] * 30)
    before = threading.active_count()
    found = batches.batches(files, NATIVE, 2, 4, "cpu")
    next(found)
    found.close()
    assert threading.active_count() == before


def test_elongated_images_go_through_the_model_in_small_groups() -> None:
    shape_kept = Preprocess("short", 10, None)
    limit = at_most(shape_kept, 32)
    assert limit == 32 * 2 * 10 * 10
    ordinary, elongated = torch.zeros(3, 10, 20), torch.zeros(3, 10, 1000)
    assert [len(places) for places, _ in stacked([ordinary] * 32, limit)] == [32]
    assert [len(places) for places, _ in stacked([elongated] * 3, limit)] == [1, 1, 1]
    assert at_most(Preprocess("short", 10, 10), 32) is at_most(NATIVE, 32) is at_most(SMALL, 32) is None


class Answers:
    """Gives each image the descriptor of its grey."""

    n_parameters = 0

    def __init__(self, answers: dict[int, list[float]]) -> None:
        self.answers = answers

    def describe(self, batch: torch.Tensor) -> Descriptors:
        return Descriptors(
            torch.tensor([self.answers.get(int(image[0, 0, 0]), [float(image[0, 0, 0]), 1.0]) for image in batch])
        )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_image_whose_descriptor_has_no_cosine_is_a_failure_of_its_own(dtype: str, tmp_path: Path) -> None:
    files = painted(tmp_path, [(4, 4)] * 10, broken=[4])
    model = Answers({2: [0.0, 0.0], 3: [np.nan, 1.0], 7: [1e30, 1.0], 9: [np.inf, 0.0]})
    rows: list[np.ndarray] = []
    failed: list[tuple[str, BenchError]] = []
    seen: list[int] = []
    how = Extraction(SMALL, 3, 2, dtype=dtype)  # type: ignore[arg-type]
    speed = extract(model, files, how, rows.append, seen.append, lambda image, error: failed.append((image.id, error)))
    lost = ["2", "3", "4", "9"] + (["7"] if dtype == "float16" else [])
    assert sorted(name for name, _ in failed) == sorted(lost) and speed.n_images == 10 and seen == [3, 6, 9, 10]
    kept = [n for n in range(10) if str(n) not in lost]
    assert np.concatenate(rows)[:, 0].tolist() == [1e30 if n == 7 else float(n) for n in kept] or dtype == "float32"
    told = {name: str(error) for name, error in failed}
    assert "is zero" in told["2"] and "not finite" in told["3"] and "can't be read" in told["4"]
    if dtype == "float16":
        assert "beyond the range of float16: keep float32" in told["7"]


def test_weights_that_describe_nothing_are_no_failure_of_images(tmp_path: Path) -> None:
    files = painted(tmp_path, [(4, 4)] * 4)
    model = Answers({n: [np.nan, 1.0] for n in range(4)})
    with pytest.raises(DescriptorError, match="nor is any other of its batch: the weights or the precision are wrong"):
        extract(model, files, Extraction(SMALL, 2, 1), lambda rows: None, on_failure=lambda image, error: None)


SCRIPT = """
import resource, sys
from pathlib import Path
import torch
from bench import images
from bench.extract import Extraction, extract
from bench.interfaces import NATIVE, Descriptors, ImageFile

class Corner:
    n_parameters = 0
    def describe(self, batch):
        return Descriptors(batch[:, :, 0, 0].float() + 1)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

path = Path(sys.argv[1])
extract(Corner(), [ImageFile("a", path)] * 2, Extraction(NATIVE, 1, 1), lambda rows: None)
before = peak()
rows = []
extract(Corner(), [ImageFile(str(n), path) for n in range(40)], Extraction(NATIVE, 128, 4), rows.append)
assert sum(map(len, rows)) == 40
print(peak() - before)
"""


def test_a_batch_of_large_photographs_takes_the_memory_of_a_few(tmp_path: Path) -> None:
    """40 of 16 megapixels have 1,920 MB as RGB; four threads, one batch and what waits take no more than a third."""
    Image.new("RGB", (4000, 4000), (9, 9, 9)).save(tmp_path / "large.jpg")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "large.jpg")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(ran.stdout) < 640
