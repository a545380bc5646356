"""How many pixels are decoded at the same time in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Let images in as long as they have together at most `limit` pixels, and any image while there is no other.

    Images are let in in the order they come, so that a large one isn't passed over for ever.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def holding(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many pixels, and hold them inside the context. Not to be nested."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + pixels <= self._limit)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()
