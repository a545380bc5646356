"""Errors of image files: whatever a decoder raises becomes one sentence that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import UnidentifiedImageError

from bench.errors import BenchError, ImageError
from bench.images import notices

REPLACE = "replace it or leave it out"
CONVERT = "convert it to 8 or 16 bits, or leave it out"


class Unsupported(ValueError):
    """An image that is intact, but of a kind that is not read. remedy: what to do about it."""

    def __init__(self, reason: str, remedy: str = CONVERT) -> None:
        super().__init__(reason)
        self.remedy = remedy


@contextmanager
def named(path: object) -> Iterator[None]:
    """Turn any exception of a decoder into an ImageError about `path`; its warnings are counted for `path`.

    Raises:
        ImageError: in one line. KeyboardInterrupt, SystemExit and the project's own errors pass.
    """
    with notices.reading(path):
        try:
            yield
        except BenchError:
            raise
        except Exception as error:
            remedy = error.remedy if isinstance(error, Unsupported) else REPLACE
            raise ImageError(f"the image {path} can't be read ({_reason(error)}): {remedy}") from error


def _reason(error: Exception) -> str:
    """The message in one line; the kind of the error where the message alone says nothing."""
    message = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, MemoryError):
        return message or "there is not enough memory for it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, OSError | SyntaxError | ValueError | RuntimeError | UnidentifiedImageError) and message:
        return message
    return f"{type(error).__name__} {message}".strip()
