"""Braces of a list, expanded as a shell does: chunked@{2,4} is chunked@2 and chunked@4."""

import re
from itertools import product

from bench.errors import UsageError

#: Names that one list may stand for.
MOST = 1000


def expand(text: str) -> list[str]:
    """The names of a comma-separated list, its braces expanded: from left to right, those further right vary fastest.

    Braces may be several, nested and hold nothing: `a{,[b]}` is `a` and `a[b]`. Around one name they are dropped, where
    a shell keeps them. Raises UsageError for a brace without its other one, and for a list of more than MOST.
    """
    _require_balanced(text)
    return [name for part in _split(text) for name in _expanded(part, text)]


def _expanded(part: str, text: str) -> list[str]:
    pieces = [_split_names(piece[1:-1], text) if piece.startswith("{") else [piece] for piece in _pieces(part)]
    n = 1
    for names in pieces:
        n *= len(names)
    if n > MOST:
        raise UsageError(f"the braces in '{text}' stand for more than {MOST:,} names: write fewer")
    return ["".join(chosen) for chosen in product(*pieces)]


def _split_names(inside: str, text: str) -> list[str]:
    return [name for part in _split(inside) for name in _expanded(part, text)]


def _split(text: str) -> list[str]:
    """At the commas outside braces."""
    parts, depth = [""], 0
    for letter in text:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _pieces(part: str) -> list[str]:
    """Outermost braces with what they hold, and what stands between them."""
    pieces, depth = [""], 0
    for letter in part:
        if letter == "{" and depth == 0:
            pieces.append("")
        depth += {"{": 1, "}": -1}.get(letter, 0)
        pieces[-1] += letter
        if letter == "}" and depth == 0:
            pieces.append("")
    return pieces


def _require_balanced(text: str) -> None:
    depth = 0
    for place, brace in ((match.start(), match[0]) for match in re.finditer(r"[{}]", text)):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            raise UsageError(f"the brace }} at character {place + 1} of '{text}' has no {{ before it: write {{2,4,8}}")
    if depth:
        raise UsageError(f"a brace {{ in '{text}' is never closed: write {{2,4,8}}")
