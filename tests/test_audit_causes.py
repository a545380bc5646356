"""What matched images are like: counts by brute force, entropy and bytes of known pictures, coefficients by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from bench.audit import causes
from bench.audit.causes import complexity, correlation, near_copies
from bench.audit.sides import Side
from bench.interfaces import ImageFile
from bench.similarity import Similarity, pairwise


@pytest.mark.parametrize("spec", ["global", "chunked@2"])
def test_near_copies_are_counted(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "AT_ONCE", 7)
    vectors = np.random.default_rng(0).normal(0.5, 1, (40, 6)).astype(np.float32)
    vectors[9] = vectors[30] = vectors[4]
    similarity, rows = Similarity.parse(spec), np.array([4, 9, 0, 39, *range(10, 25)])
    scores = pairwise(vectors, vectors, similarity)
    for threshold in (0.2, 0.6, 0.999):
        wanted = [
            sum(scores[row, other] > np.float32(threshold) for other in range(40) if other != row) for row in rows
        ]
        assert near_copies(rows, vectors, threshold, similarity).tolist() == wanted
    assert spec != "global" or near_copies(rows[:3], vectors, 0.999, similarity).tolist() == [2, 2, 0]


def test_complexity_of_known_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = {
        "flat": np.full((64, 64, 3), 128, np.uint8),
        "halves": np.repeat(np.array([0, 255], np.uint8), 128 * 256 * 3).reshape(256, 256, 3),
        "noise": rng.integers(0, 256, (256, 256, 1), np.uint8).repeat(3, axis=2),
    }
    files = []
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        files.append(ImageFile(name, tmp_path / f"{name}.png"))
    (flat, halves, noise) = complexity(files)
    assert flat[0] == 0 and halves[0] == pytest.approx(1) and noise[0] == pytest.approx(8, abs=0.01)
    assert flat[1] < halves[1] < noise[1]


def test_coefficients() -> None:
    x, y = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([1.0, 4.0, 9.0, 16.0, 26.0])
    found = correlation(x, y)
    assert found is not None and (found.n, found.spearman) == (5, pytest.approx(1))
    assert found.pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.pearson_p == pytest.approx(stats.pearsonr(x, y).pvalue)
    assert correlation(x, np.ones(5)) is None and correlation(x[:2], y[:2]) is None


def test_what_is_repeated_is_matched_better() -> None:
    """Generated images near to training images that stand there many times, and far from those that stand once."""
    rng = np.random.default_rng(1)
    originals = rng.normal(size=(20, 32)).astype(np.float32)
    times = np.arange(1, 21)
    training = np.repeat(originals, times, axis=0) + 0.01 * rng.normal(size=(times.sum(), 32)).astype(np.float32)
    firsts = np.cumsum(times) - times
    side = Side(training, lambda rows: [str(row) for row in rows], np.arange(len(training)))
    found = causes.causes(times.astype(np.float32) / 20, firsts, side, 0.9, Similarity())
    assert list(found) == ["near_copies"] and found["near_copies"] is not None
    assert found["near_copies"].pearson == pytest.approx(1) and found["near_copies"].n == 20
