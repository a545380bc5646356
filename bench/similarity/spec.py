"""What a similarity is, as a value that parses from and prints to a short string."""

import re
from dataclasses import dataclass
from typing import Literal

import bracex

from bench.errors import UsageError

Norm = Literal["vector", "chunk", "none"]

#: Of `chunked` alone.
CHUNKS = 16
#: Similarities that one list may stand for.
MOST = 1000

#: Every form a similarity can be written in, with what it means.
FORMS = {
    "global": "cosine of whole descriptors",
    "chunked@K": "largest product of K aligned equal chunks; the whole vector is L2-normalised, then split "
    f"(Somepalli et al. 2023); `chunked` is chunked@{CHUNKS}",
    "chunked@tokens": "the same with the tokens or map cells of the local descriptors as chunks",
    "chunked@tokens/7x7": "the same after the grid of tokens is averaged to 7 x 7 (HxW)",
    "cross@tokens": "largest product of any token of the one image with any of the other; /7x7 averages the grid first",
    "...[norm=chunk]": "behind any but global: each chunk or token L2-normalised by itself, so that an image is 1 to "
    "itself",
    "...[norm=none]": "behind any: nothing normalised, inner products",
}

_SPEC = re.compile(
    r"(?P<kind>global|chunked|cross)"
    r"(@((?P<chunks>[1-9][0-9]*)|(?P<tokens>tokens)(/(?P<height>[1-9][0-9]*)x(?P<width>[1-9][0-9]*))?))?"
    r"(\[norm=(?P<norm>vector|chunk|none)\])?"
)


@dataclass(frozen=True)
class Similarity:
    """The largest product of the chunks of two descriptors; of whole descriptors where there is one chunk.

    chunks: equal parts that a global descriptor is cut into, None for the whole of it.
    norm: "vector" L2-normalises the whole descriptor before it is split, so that the products of aligned chunks add up
    to the cosine; "chunk" normalises each chunk; "none" nothing (inner product).
    tokens: the chunks are the local descriptors [T, d]. grid: height and width that they are averaged to before.
    cross: any chunk is compared with any, not only those at the same place.
    """

    chunks: int | None = None
    norm: Norm = "vector"
    tokens: bool = False
    grid: tuple[int, int] | None = None
    cross: bool = False

    @classmethod
    def parse(cls, text: str) -> "Similarity":
        """The similarity that `text` names. Raises UsageError with the known forms."""
        text = text.strip()
        match = _SPEC.fullmatch(text)
        if match is None or not _goes_together(match):
            raise UsageError(f"there is no similarity '{text}': write {', '.join(FORMS)} (K: number of chunks)")
        norm: Norm = "chunk" if match["norm"] == "chunk" else "none" if match["norm"] == "none" else "vector"
        grid = (int(match["height"]), int(match["width"])) if match["height"] else None
        whole = match["kind"] == "global" or match["tokens"] is not None
        chunks = None if whole else int(match["chunks"] or CHUNKS)
        return cls(chunks, norm, match["tokens"] is not None, grid, match["kind"] == "cross")

    def __str__(self) -> str:
        norm = "" if self.norm == "vector" else f"[norm={self.norm}]"
        if self.tokens:
            grid = f"/{self.grid[0]}x{self.grid[1]}" if self.grid else ""
            return f"{'cross' if self.cross else 'chunked'}@tokens{grid}{norm}"
        return ("global" if self.chunks is None else f"chunked@{self.chunks}") + norm

    def require_divides(self, dimension: int) -> None:
        """Raises UsageError, listing the divisors, where `dimension` can't be cut into equal chunks."""
        if self.chunks is not None and dimension % self.chunks:
            divisors = ", ".join(str(k) for k in range(2, dimension + 1) if dimension % k == 0)
            raise UsageError(f"{self} can't cut {dimension} dimensions into equal chunks: K may be {divisors}")


def _goes_together(match: re.Match[str]) -> bool:
    if match["kind"] == "global":
        return match["chunks"] is None and match["tokens"] is None and match["norm"] != "chunk"
    return match["tokens"] is not None or match["kind"] == "chunked"


def parse_all(text: str) -> list[Similarity]:
    """The similarities of a comma-separated list, its braces expanded as a shell does, each once.

    Raises UsageError for braces that are no pairs, and for a list of more than MOST.
    """
    found = [Similarity.parse(part) for part in _expanded(text) if part.strip()]
    if not found:
        raise UsageError(f"no similarity was chosen: write {' or '.join(FORMS)}")
    return list(dict.fromkeys(found))


def _expanded(text: str) -> list[str]:
    """Braces around one name are dropped, where a shell keeps them."""
    try:
        # an empty name makes a list of one name a list
        names = bracex.expand("{," + re.sub(r"\{([^{},.]*)\}", r"\1", text) + "}", limit=MOST + 1)
    except bracex.ExpansionLimitException as error:
        raise UsageError(f"'{text}' stands for more than {MOST:,} similarities: write fewer") from error
    if any(brace in name for name in names for brace in "{}"):
        raise UsageError(f"the braces in '{text}' are no pairs: write chunked@{{2,4,8}}")
    return names
