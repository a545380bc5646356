"""What a similarity is, as a value that parses from and prints to a short string."""

import re
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError

Norm = Literal["vector", "chunk"]

#: Every form a similarity can be written in, with what it means.
FORMS = {
    "global": "cosine of whole descriptors",
    "chunked@K": "largest product of K aligned equal chunks; the whole vector is L2-normalised, then split "
    "(Somepalli et al. 2023)",
    "chunked@K[norm=chunk]": "the same with each chunk L2-normalised by itself, so that an image is 1 to itself",
}

_CHUNKED = re.compile(r"chunked@(?P<chunks>[1-9][0-9]*)(\[norm=(?P<norm>vector|chunk)\])?")


@dataclass(frozen=True)
class Similarity:
    """Global (chunks None) or chunked similarity.

    norm: "vector" L2-normalises the whole vector before it is split, so that the chunk products add up to the
    cosine; "chunk" normalises each chunk.
    """

    chunks: int | None = None
    norm: Norm = "vector"

    @classmethod
    def parse(cls, text: str) -> "Similarity":
        """The similarity that `text` names. Raises UsageError with the known forms."""
        text = text.strip()
        if text == "global":
            return cls()
        match = _CHUNKED.fullmatch(text)
        if match is None:
            raise UsageError(f"there is no similarity '{text}': write {', '.join(FORMS)} (K: number of chunks)")
        return cls(int(match["chunks"]), "chunk" if match["norm"] == "chunk" else "vector")

    def __str__(self) -> str:
        if self.chunks is None:
            return "global"
        return f"chunked@{self.chunks}" + ("[norm=chunk]" if self.norm == "chunk" else "")

    def require_divides(self, dimension: int) -> None:
        """Raises UsageError, listing the divisors, where `dimension` can't be cut into equal chunks."""
        if self.chunks is not None and dimension % self.chunks:
            divisors = ", ".join(str(k) for k in range(2, dimension + 1) if dimension % k == 0)
            raise UsageError(f"{self} can't cut {dimension} dimensions into equal chunks: K may be {divisors}")


def parse_all(text: str) -> list[Similarity]:
    """The similarities of a comma-separated list, each once."""
    found = [Similarity.parse(part) for part in text.split(",") if part.strip()]
    if not found:
        raise UsageError(f"no similarity was chosen: write {' or '.join(FORMS)}")
    return list(dict.fromkeys(found))
