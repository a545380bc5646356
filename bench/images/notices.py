"""Warnings of image decoders, counted by kind and file instead of being printed.

Warnings reach this module on three ways: as Python warnings and log records of Pillow, as messages that libtiff would
write to the standard error stream, and by `note`. A message counts for the file that its thread is reading.
"""

import ctypes
import logging
import re
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

_reading = threading.local()
_lock = threading.Lock()
_active: list["Notices"] = []
_hooks = ExitStack()

#: What libtiff calls with the module, the message's format, and its values, which are left out of the kind.
_TIFF_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


class Notices:
    """How often each kind of warning was given for each file."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, message: str, file: str) -> None:
        """Count a message; numbers in it make no difference to its kind."""
        kind = re.sub(r"%[-#0-9.]*[a-z]+|\b\d+", "N", message.replace("%s", "..."))
        kind = " ".join(kind.split())
        with _lock:
            self._counts[kind, file] += 1

    def rows(self) -> list[tuple[str, str, int]]:
        """Kind, file and count, sorted."""
        with _lock:
            return sorted((kind, file, count) for (kind, file), count in self._counts.items())


@contextmanager
def counted() -> Iterator[Notices]:
    """Count what decoders warn of, in any thread of this process, while images are read.

    Nothing else is changed: warnings that are given while no image is read are printed as before.

    Yields:
        The notices, which can be read at any time.
    """
    notices = Notices()
    with _lock:
        if not _active:
            _hook()
        _active.append(notices)
    try:
        yield notices
    finally:
        with _lock:
            _active.remove(notices)
            if not _active:
                _hooks.close()


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Attribute to a file what this thread's decoders warn of inside the context."""
    before = _file()
    _reading.file = str(path)
    try:
        yield
    finally:
        _reading.file = before


def note(message: str) -> bool:
    """Count a message for the file that this thread reads.

    Returns:
        Whether it was counted: a file is being read, and warnings are counted.
    """
    file = _file()
    with _lock:
        notices = list(_active)
    if file is None or not notices:
        return False
    for counts in notices:
        counts.add(message, file)
    return True


def _file() -> str | None:
    return getattr(_reading, "file", None)


def _hook() -> None:
    """Take over warnings of Python, log records of Pillow and messages of libtiff until `_hooks` is closed."""
    _hooks.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("always", module=r"PIL\b")
    _hooks.enter_context(_python_warnings())
    _hooks.enter_context(_log_records(logging.getLogger("PIL")))
    _hooks.enter_context(_libtiff_messages())


@contextmanager
def _python_warnings() -> Iterator[None]:
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not note(str(message)):
            before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


class _Counting(logging.Handler):
    """Count records of level WARNING and above, and hand on those that no image is read for."""

    def emit(self, record: logging.LogRecord) -> None:
        if not note(record.getMessage()):
            logging.getLogger().handle(record)


@contextmanager
def _log_records(logger: logging.Logger) -> Iterator[None]:
    handler, propagated = _Counting(logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)


@contextmanager
def _libtiff_messages() -> Iterator[None]:
    """Take the place of libtiff's handler of errors, where Pillow's own libtiff can be reached; it has no others."""
    try:
        import PIL._imaging

        setter = ctypes.CDLL(PIL._imaging.__file__).TIFFSetErrorHandler
    except (ImportError, OSError, AttributeError):
        yield
        return
    setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

    def handle(module: bytes | None, text: bytes | None, values: Any) -> None:
        note(b": ".join(part for part in (module, text) if part).decode("latin-1"))

    handler = _TIFF_HANDLER(handle)
    before = setter(ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        setter(before)


def name_of(source: object) -> str:
    """How a file is called in notices and errors."""
    return str(source) if isinstance(source, Path | str) else str(getattr(source, "name", "a stream"))
