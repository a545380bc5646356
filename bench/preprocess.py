"""What a run may change about every backbone's official preprocessing, as a value that parses and prints."""

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

from bench.errors import UsageError
from bench.interfaces import Preprocess

Kind = Literal["official", "seed", "squash", "short", "letterbox"]

#: Every form a mode can be written in, with what it means.
FORMS = {
    "official": "each backbone's own, the default",
    "seed": "short side 256 bilinear, central 224, mean and deviation 0.5 for all (code of Somepalli et al. 2023)",
    "squash:SIZE": "both sides resized to SIZE, no crop",
    "short:SIZE": "short side resized to SIZE, shape kept, no crop",
    "letterbox:SIZE": "long side resized to SIZE, padded to a square with the mean colour",
    "...+draft": "behind any: a JPEG at least 6 times as large as it is resized to is scaled down as it is decoded, "
    "which is faster and not exact (cosine to the exact descriptor 0.998 or more at 224 and 256 pixels, 0.996 at 64, "
    "measured on EfficientNet-Lite0)",
}

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Mode:
    """How images are brought to a size. Interpolation, mean and deviation stay the backbone's, except with `seed`.

    draft: as in `Preprocess`.
    """

    kind: Kind = "official"
    size: int | None = None
    draft: bool = False

    @classmethod
    def parse(cls, text: str) -> "Mode":
        """The mode that `text` names. Raises UsageError with the known forms."""
        match = re.fullmatch(r"(?:(official|seed)|(squash|short|letterbox):([1-9][0-9]{0,4}))(\+draft)?", text.strip())
        if match is None:
            raise UsageError(f"there is no preprocessing '{text}': write {', '.join(FORMS)} (SIZE in pixels)")
        plain, resize, size, draft = match.groups()
        kind: Kind = next(kind for kind in get_args(Kind) if kind == (plain or resize))
        return cls(kind, int(size) if size else None, draft is not None)

    def __str__(self) -> str:
        return self.kind + (f":{self.size}" if self.size else "") + ("+draft" if self.draft else "")

    def apply(self, official: Preprocess) -> Preprocess:
        """The preprocessing of a backbone under this mode; one that does its own scaling keeps its own."""
        if official.resize == "none":
            return official
        return replace(self._resized(official), draft=self.draft)

    def _resized(self, official: Preprocess) -> Preprocess:
        if self.kind == "official":
            return official
        if self.kind == "seed":
            statistics = HALF if official.mean is not None else None  # without: the model reads uint8
            return Preprocess("short", 256, 224, "bilinear", statistics, statistics)
        return replace(official, resize=self.kind, size=self.size, crop=None)
