"""Names of files and archive members as printable text, the way back, and file names made of any text."""

import os
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

#: Bytes that a file name made of a text may have; a file system takes 255, and temporary names are longer.
MOST_BYTES = 200

_SHORT = {"\\": "\\\\", "\r": "\\r", "\n": "\\n", "\t": "\\t"}
_LONG = {written: plain for plain, written in _SHORT.items()}
#: Controls, surrogates, separators of lines, marks that turn the direction of text, byte order mark, noncharacters.
_UNPRINTABLE = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(1, 17))
)
_CONTROLS = re.compile(f"[{_UNPRINTABLE}]")
_ESCAPED = re.compile(rf"[\\{_UNPRINTABLE}]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_WRITTEN = re.compile(r"\\(?:[\\rnt]|x[89a-f][0-9a-f]|u[0-9a-f]{4}|U[0-9a-f]{8})")
_UNSAFE = re.compile(r"[^\w@=.\[\]-]")


def escaped(name: str) -> str:
    r"""Write a name as printable UTF-8 text, different names as different texts.

    A byte that isn't UTF-8 (a surrogate, as Python reads it) becomes `\xe9`, a control character `\r`, `\n`, `\t` or
    `\u001b`, a backslash `\\`; all else stays, whether its letters are composed (NFC) or not (NFD).
    """
    return _ESCAPED.sub(_written, name)


def unescaped(text: str) -> str:
    """Give the name that `escaped` wrote; what it can't have written stays as it is."""
    return _WRITTEN.sub(_plain, text)


def printable(text: str) -> str:
    """Write surrogates and control characters as `escaped` does, and leave backslashes: twice is as good as once."""
    return _CONTROLS.sub(_written, text)


def encoded(text: str) -> bytes:
    """Encode as UTF-8, surrogates written as `escaped` does."""
    return _SURROGATES.sub(_written, text).encode()


def file_name(plain: str, suffix: str, limit: int = MOST_BYTES) -> str:
    """Make a file name of a text.

    Args:
        plain: any text; where it is short and has safe characters only, it stays as it is.
        suffix: what the file name ends with.
        limit: most bytes of UTF-8 that the file name has, its suffix included.

    Returns:
        The text with `_` for unsafe characters and cut to the limit, and then with a hash of the whole text.
    """
    safe = _UNSAFE.sub("_", plain)
    if safe == plain and len((safe + suffix).encode()) <= limit:
        return safe + suffix
    end = f"-{zlib.crc32(plain.encode('utf-8', 'surrogatepass')):08x}{suffix}"
    return safe.encode()[: max(0, limit - len(end.encode()))].decode(errors="ignore") + end


class Names:
    """The ids of images, as tables name them.

    A text names the image of just this id, else the one whose name before it was escaped is the text, else the only one
    whose name is the same in NFC.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = set(ids)

    def find(self, written: str) -> str | None:
        """Give the id of the image that a text names, None where there is none, or where several have it in NFC."""
        if written in self._ids:
            return written
        return self._plain.get(written) or self._composed.get(_composed(written))

    @cached_property
    def _plain(self) -> Mapping[str, str]:
        return {unescaped(name): name for name in self._ids}

    @cached_property
    def _composed(self) -> Mapping[str, str]:
        return _unique((_composed(plain), name) for plain, name in self._plain.items())


class Disk:
    """Files on disk, as lists name them; folders are read once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Mapping[str, str]] = {}

    def find(self, written: Path) -> Path | None:
        """Give the path of which a text is the name: itself, unescaped, or the only one that is the same in NFC.

        Returns None where there is no such file.
        """
        for path in (written, Path(unescaped(str(written)))):
            if os.path.lexists(path):
                return path
        return self._same(written) or self._same(Path(unescaped(str(written))))

    def _same(self, path: Path) -> Path | None:
        """The path with each part as it stands on disk."""
        found = Path(path.anchor)
        for part in path.relative_to(path.anchor).parts:
            own = part if os.path.lexists(found / part) else self._entries(found).get(_composed(part))
            if own is None:
                return None
            found /= own
        return found

    def _entries(self, folder: Path) -> Mapping[str, str]:
        if folder not in self._folders:
            try:
                self._folders[folder] = _unique((_composed(name), name) for name in os.listdir(folder))  # noqa: PTH208
            except (OSError, ValueError):  # of a name with a null
                self._folders[folder] = {}
        return self._folders[folder]


def _unique(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Without the keys that stand for several."""
    found: dict[str, str] = {}
    several = set()
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            several.add(key)
    return {key: value for key, value in found.items() if key not in several}


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _written(match: re.Match[str]) -> str:
    character = match.group()
    point = ord(character)
    if short := _SHORT.get(character):
        return short
    if 0xDC80 <= point <= 0xDCFF:  # how Python reads a byte that is no UTF-8
        return f"\\x{point - 0xDC00:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _plain(match: re.Match[str]) -> str:
    text = match.group()
    if text in _LONG:
        return _LONG[text]
    point = int(text[2:], 16)
    if text[1] == "x":
        return chr(0xDC00 + point)
    return chr(point) if point <= 0x10FFFF else text
