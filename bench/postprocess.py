"""What is done to descriptors and scores after extraction, as values that parse from and print to a short string.

A pipeline is fitted on a background set, each step on what the steps before it make of that set; the background is
never the queries or the database. All arithmetic is in float64, block by block.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.errors import DescriptorError, UsageError
from bench.similarity import Similarity, top_k

BLOCK = 4096

#: Every form a step can be written in, with what it means.
FORMS = {
    "l2": "each descriptor divided by its norm",
    "center": "the background's mean subtracted",
    "pcaD": "coordinates along the background's D principal axes",
    "pcawD": "the same, whitened: each axis divided by its standard deviation (Jégou and Chum 2012)",
    "snBETA[A,B]": "last: BETA times the mean of a query's similarities to the background at ranks A to B, from 0, is "
    "subtracted from its scores (Pizzi et al. 2022)",
}

#: From float64 [N, D] to float64 [N, d], row by row.
Map: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
#: Goes through all rows once a call, in blocks float64 [n, D].
Blocks: TypeAlias = Callable[[], Iterator[NDArray[np.float64]]]
#: From float32 queries [N, d] and a similarity to what is subtracted [N] from their scores.
Offsets: TypeAlias = Callable[[NDArray[np.float32], Similarity], NDArray[np.float32]]


class Step(ABC):
    """Changes descriptors."""

    def dimension(self, given: int) -> int:
        """Dimension of what `given` dimensions become. Raises UsageError where that can't be."""
        return given

    @abstractmethod
    def fit(self, background: Blocks) -> Map:
        """The step as the background decides it. Raises DescriptorError where that is too small or too uniform."""


@dataclass(frozen=True)
class L2(Step):
    """Unit length; again after whitening, as Jégou and Chum (ECCV 2012) do. A zero descriptor has no direction."""

    def __str__(self) -> str:
        return "l2"

    def fit(self, background: Blocks) -> Map:
        return lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)


@dataclass(frozen=True)
class Center(Step):
    """Less the background's mean, so that what all images share makes none alike (Jégou and Chum, ECCV 2012)."""

    def __str__(self) -> str:
        return "center"

    def fit(self, background: Blocks) -> Map:
        _, mean = _count_and_mean(background)
        return lambda x: x - mean


@dataclass(frozen=True)
class Pca(Step):
    """Centred coordinates along the principal axes (Hotelling 1933), if `whiten` each of unit variance.

    Whitening follows Jégou and Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and
    whitening" (ECCV 2012). The axes go by falling variance; the entry of largest magnitude of each is positive.
    """

    kept: int
    whiten: bool

    def __str__(self) -> str:
        return f"pca{'w' if self.whiten else ''}{self.kept}"

    def dimension(self, given: int) -> int:
        if self.kept > given:
            raise UsageError(f"{self} keeps {self.kept} dimensions of {given}: ask for at most {given}")
        return self.kept

    def fit(self, background: Blocks) -> Map:
        n, mean = _count_and_mean(background)
        if n <= self.kept:
            raise DescriptorError(
                f"{self} is fitted on more than {self.kept} background images, but there are {n}: give more, "
                "or keep fewer dimensions"
            )
        scatter = np.zeros((len(mean), len(mean)))
        for block in background():
            scatter += (block - mean).T @ (block - mean)
        ascending, columns = np.linalg.eigh(scatter / (n - 1))
        variances, axes = ascending[::-1], columns[:, ::-1][:, : self.kept]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(self.kept)])
        if self.whiten:
            # below that a variance is the rounding of float32 descriptors and of the decomposition
            varied = int((variances > (variances[0] + mean @ mean) * len(mean) * np.finfo(np.float64).eps).sum())
            if varied < self.kept:
                raise DescriptorError(
                    f"{self} divides by the deviation along {self.kept} axes, but the {n} background images vary along "
                    f"{varied} only: give more varied ones, or keep at most as many dimensions"
                )
            axes = axes / np.sqrt(variances[: self.kept])
        return lambda x: (x - mean) @ axes


@dataclass(frozen=True)
class ScoreNorm:
    """s'(q, r) = s(q, r) - beta * mean of q's similarities to the background at ranks first..last, by falling value.

    Ranks count from 0 and are inclusive. From SSCD: Pizzi et al., "A self-supervised descriptor for image copy
    detection" (CVPR 2022). Raises UsageError where first > last.
    """

    beta: float
    first: int
    last: int

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise UsageError(f"{self} averages no rank: write the lower rank first")

    def __str__(self) -> str:
        return f"sn{np.format_float_positional(self.beta, trim='0')}[{self.first},{self.last}]"

    def fit(self, background: NDArray[np.float32]) -> Offsets:
        """The offsets under a background [M, d]. Raises DescriptorError where it is too small or a row is zero."""
        if len(background) <= self.last:
            raise DescriptorError(
                f"{self} needs {self.last + 1} background images, but there are {len(background)}: give more, "
                "or lower the ranks"
            )
        zero = ~background.any(axis=1)
        if zero.any():
            raise DescriptorError(
                f"row {int(np.argmax(zero))} of the background is zero: it has no similarity to anything, leave it out"
            )
        return partial(self._offsets, background)

    def _offsets(
        self, background: NDArray[np.float32], queries: NDArray[np.float32], similarity: Similarity
    ) -> NDArray[np.float32]:
        means = [
            top_k(queries[start : start + BLOCK], background, self.last + 1, similarity)
            .scores[:, self.first :]
            .mean(axis=1, dtype=np.float64)
            for start in range(0, len(queries), BLOCK)
        ]
        return (self.beta * np.concatenate(means)).astype(np.float32)


@dataclass(frozen=True)
class Pipeline:
    """Steps in their order, then the normalisation of the scores."""

    steps: tuple[Step, ...] = ()
    score_norm: ScoreNorm | None = None

    @classmethod
    def parse(cls, text: str) -> "Pipeline":
        """The pipeline that `text` names. Raises UsageError, with the known forms, for a step that is none."""
        parts = [_parsed(part.strip()) for part in _COMMA.split(text)] if text.strip() else []
        steps = tuple(part for part in parts if isinstance(part, Step))
        norms = [part for part in parts if isinstance(part, ScoreNorm)]
        if norms and parts[-1:] != norms:
            raise UsageError(
                f"{norms[0]} in '{text}' changes scores, which come after all steps: write it last and once"
            )
        return cls(steps, *norms)

    def __str__(self) -> str:
        return ",".join(str(part) for part in (*self.steps, self.score_norm) if part)

    @property
    def needs_background(self) -> bool:
        """Whether anything is fitted."""
        return self.score_norm is not None or any(not isinstance(step, L2) for step in self.steps)

    def require_global(self, similarities: Iterable[Similarity]) -> None:
        """Raises UsageError where a similarity is of local descriptors, for which there is no step."""
        local = next((similarity for similarity in similarities if similarity.tokens), None)
        if local is not None and str(self):
            raise UsageError(
                f"--postprocess {self} is of global descriptors, {local} compares local ones: leave out one of them"
            )

    def dimension(self, given: int) -> int:
        """Dimension of what `given` dimensions become. Raises UsageError where more are to be kept than there are."""
        for step in self.steps:
            given = step.dimension(given)
        return given

    def described(self) -> dict[str, Any]:
        """The pipeline as a record shows it."""
        projections = [step for step in self.steps if isinstance(step, Pca)]
        return {
            "spec": str(self),
            "pca_dim": projections[-1].kept if projections else None,
            "whiten": any(step.whiten for step in projections),
            "score_norm": str(self.score_norm) if self.score_norm else None,
        }

    def fit(self, background: NDArray[np.float32] | None) -> "Fitted":
        """The pipeline fitted on a background set [N, D], which may be None where nothing is fitted.

        Raises DescriptorError for too few background images, for whitening along axes on which they do not vary, and
        where a step makes anything not finite of one; UsageError as `dimension` does.
        """
        given = np.empty((0, 0), np.float32) if background is None else background
        if self.needs_background and not len(given):
            raise DescriptorError(f"'{self}' is fitted on background images, but there are none: give some")
        self.dimension(given.shape[1])
        maps: tuple[Map, ...] = ()
        for step in self.steps:
            maps = (*maps, step.fit(partial(_blocks, given, maps, "background")))
        if self.score_norm is None:
            return Fitted(maps)
        return Fitted(maps, self.score_norm.fit(_mapped(given, maps, "background")))


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline. normalise: None where scores stay as they are."""

    maps: tuple[Map, ...]
    normalise: Offsets | None = None

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the steps make of `vectors` [N, D]: float32 [N, d]; without steps, the vectors themselves.

        Raises DescriptorError where that is not finite, as of a zero vector that l2 follows.
        """
        return _mapped(vectors, self.maps, "descriptors") if self.maps else vectors

    def offsets(self, queries: NDArray[np.float32], similarity: Similarity) -> NDArray[np.float32] | None:
        """What is to be subtracted [N] from the scores of `queries` [N, d] as `apply` makes them, if anything."""
        return self.normalise(queries, similarity) if self.normalise else None


_COMMA = re.compile(r",(?![^\[]*\])")  # not one within brackets
_PCA = re.compile(r"pca(w?)([1-9][0-9]{0,8})")
_SCORE_NORM = re.compile(r"sn([0-9]{1,9}(?:\.[0-9]+)?)\[([0-9]{1,9}),([0-9]{1,9})\]")


def _parsed(text: str) -> Step | ScoreNorm:
    if text == "l2":
        return L2()
    if text == "center":
        return Center()
    if match := _PCA.fullmatch(text):
        return Pca(int(match[2]), whiten=bool(match[1]))
    if match := _SCORE_NORM.fullmatch(text):
        return ScoreNorm(float(match[1]), int(match[2]), int(match[3]))
    raise UsageError(
        f"there is no post-processing step '{text}': write {', '.join(FORMS)}, separated by commas (D: dimensions; "
        "BETA: a decimal number; A, B: ranks from 0)"
    )


def _count_and_mean(background: Blocks) -> tuple[int, NDArray[np.float64]]:
    sums = [(len(block), block.sum(axis=0)) for block in background()]
    n = sum(count for count, _ in sums)
    return n, np.sum([total for _, total in sums], axis=0) / n


def _mapped(vectors: NDArray[np.float32], maps: tuple[Map, ...], role: str) -> NDArray[np.float32]:
    return np.concatenate([block.astype(np.float32) for block in _blocks(vectors, maps, role)])


def _blocks(vectors: NDArray[np.float32], maps: tuple[Map, ...], role: str) -> Iterator[NDArray[np.float64]]:
    """What the maps make of all vectors, in blocks. Raises DescriptorError where a number is not finite in float32."""
    for start in range(0, len(vectors), BLOCK):
        x = vectors[start : start + BLOCK].astype(np.float64)
        with np.errstate(all="ignore"):  # what they would warn of is an error below
            for step in maps:
                x = step(x)
        bad = ~(np.abs(x) <= np.finfo(np.float32).max).all(axis=1)
        if bad.any():
            row = start + int(np.argmax(bad))
            came = np.isfinite(vectors[row]).all()
            why = "is zero where l2 divides it by its norm, or grows too large for float32" if came else "is not finite"
            raise DescriptorError(f"row {row} of the {role} {why}: leave its image out, or write other steps")
        yield x
