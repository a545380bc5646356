"""Whether the images that are matched best are those that the training set repeats, or those that are simple.

Somepalli et al. (NeurIPS 2023) relate copying to duplicates in the training set, and to entropy and JPEG size of the
training image.
"""

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench import images
from bench.audit.sides import Side
from bench.interfaces import ImageFile
from bench.similarity import Similarity, pairwise
from bench.similarity.prepare import Rows

#: Descriptors compared with all others at once.
AT_ONCE = 256
#: Side in pixels at which images are compared in size, and the quality of their JPEG.
SIDE, QUALITY = 256, 75
WORKERS = 4


@dataclass(frozen=True)
class Correlation:
    """Of n pairs: Pearson's and, of their ranks, Spearman's coefficient, each with its two-sided p."""

    n: int
    pearson: float
    pearson_p: float
    spearman: float
    spearman_p: float


def causes(
    scores: NDArray[np.float32], nearest: NDArray[np.int64], training: Side, threshold: float, similarity: Similarity
) -> Mapping[str, Correlation | None]:
    """Scores [N] of generated images, and what their nearest training images, rows [N], are like.

    near_copies: other training images that are more similar to it than the threshold. Where there are images, entropy:
    of its grey values, bits; jpeg_bytes: of it as a JPEG of SIDE x SIDE. None where nothing varies.
    """
    rows, of_row = np.unique(nearest, return_inverse=True)
    values = {"near_copies": near_copies(rows, training.descriptors, threshold, similarity).astype(np.float64)}
    if training.files is not None:
        entropy, n_bytes = complexity([training.files[row] for row in rows]).T
        values |= {"entropy": entropy, "jpeg_bytes": n_bytes}
    return {name: correlation(scores.astype(np.float64), of[of_row]) for name, of in values.items()}


def near_copies(
    rows: NDArray[np.int64], descriptors: Rows, threshold: float, similarity: Similarity
) -> NDArray[np.int64]:
    """How many other descriptors are more similar to each of some, rows [n], than the threshold: int64 [n]."""
    counts = np.zeros(len(rows), np.int64)
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        over = pairwise(descriptors[some], descriptors, similarity) > np.float32(threshold)
        counts[first : first + AT_ONCE] = over.sum(axis=1) - over[np.arange(len(some)), some]
    return counts


def complexity(files: Sequence[ImageFile]) -> NDArray[np.float64]:
    """Entropy in bits, and bytes as a JPEG, of each image: float64 [n, 2]. Raises ImageError for one that is gone."""
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="complexity") as pool:
        return np.array(list(pool.map(_complexity, files)), np.float64).reshape(-1, 2)


def _complexity(file: ImageFile) -> tuple[float, int]:
    small = images.decode(file.path, file.box).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return float(small.convert("L").entropy()), stream.tell()


def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> Correlation | None:
    """None for fewer than three pairs, or where one of them does not vary."""
    from scipy import stats

    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    plain, ranks = stats.pearsonr(x, y), stats.spearmanr(x, y)
    return Correlation(len(x), float(plain.statistic), float(plain.pvalue), float(ranks.statistic), float(ranks.pvalue))
