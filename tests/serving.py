"""A real HTTP server for tests: as good as any until it is told to misbehave. It notes what it was asked."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    """A request: its method, the path or, where a proxy is asked, the address, and the headers of a resumption."""

    method: str
    path: str
    range: str | None
    if_range: str | None


class Server(ThreadingHTTPServer):
    """Serves `content` under every path, with ranges and an ETag.

    files: other content, by path. refused: statuses in place of a file, by path. headers: sent with every answer; an
    empty one takes away what would be sent. faults: functions that answer the coming GETs, one each.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.files: dict[str, bytes] = {}
        self.refused: dict[str, int] = {}
        self.headers: dict[str, str] = {}
        self.faults: list[Callable[[Handler], None]] = []
        self.asked: list[Asked] = []
        #: Set at the end, for faults that say nothing until then.
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def gets(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "GET"]

    def handle_error(self, *arguments: object) -> None:
        """A client that was killed."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    @property
    def content(self) -> bytes:
        """Of the path that was asked for."""
        return self.server.files.get(self.path, self.server.content)

    @property
    def sent(self) -> dict[str, str]:
        """The headers of every answer."""
        return {"ETag": f'"{hashlib.sha256(self.content).hexdigest()}"', **self.server.headers}

    def do_HEAD(self) -> None:
        self._note()
        self.begin(self.server.refused.get(self.path, 200), len(self.content))

    def do_GET(self) -> None:
        self._note()
        if self.path in self.server.refused:
            self.begin(self.server.refused[self.path], 0)
        elif self.server.faults:
            self.server.faults.pop(0)(self)
        else:
            self.serve()

    def _note(self) -> None:
        headers = self.headers
        self.server.asked.append(Asked(self.command, self.path, headers.get("Range"), headers.get("If-Range")))

    def start(self) -> int:
        """Where the range begins that was asked for; 0 where it is of another version."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match and self.headers["If-Range"] in self.sent.values() else 0

    def begin(self, status: int, length: int | None, **headers: str) -> None:
        """Status and headers."""
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in (self.sent | headers).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def begin_honestly(self) -> memoryview:
        """Status and headers of the true answer, and what its body is."""
        content, start = self.content, self.start()
        if start:
            self.begin(206, len(content) - start, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.begin(200, len(content))
        return memoryview(content)[start:]

    def serve(self) -> None:
        """The true answer."""
        self.wfile.write(self.begin_honestly())

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """A running server."""
    with Server(content) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()
