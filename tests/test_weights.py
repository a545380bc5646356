"""Finding, downloading and verifying weights, against a local server over real HTTP."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.errors import CheckpointError, UsageError, WeightsUnavailable
from bench.interfaces import TRAINING_FREE, Weights
from bench.weights import Network, find, obtain

CONTENT = b"weights " * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT: whole, cut short under /short, not at all under /missing; and as the hub does."""

    def do_HEAD(self) -> None:
        self.server.requests.append(f"HEAD {self.path}")  # type: ignore[attr-defined]
        self._answer(body=False)

    def do_GET(self) -> None:
        self.server.requests.append(f"GET {self.path}")  # type: ignore[attr-defined]
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.send_header("ETag", f'"{SHA256}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if "short" in self.path else CONTENT)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.requests = []  # type: ignore[attr-defined]
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def at(server: ThreadingHTTPServer, path: str, sha256: str | None = None) -> Weights:
    return Weights(f"http://127.0.0.1:{server.server_port}/{path}", "MIT", "none", sha256)


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_download_is_kept_and_its_hash_is_recorded(sha256: str | None, server: ThreadingHTTPServer) -> None:
    weights = at(server, "models/net.pth", sha256)
    assert find(weights) is None
    for _ in range(2):
        found = obtain(weights, Network(offline=False))
        assert found is not None and found.path.read_bytes() == CONTENT and found.sha256 == SHA256
    assert [r for r in server.requests if r.startswith("GET")] == ["GET /models/net.pth"]  # type: ignore[attr-defined]
    found.path.write_bytes(b"changed since")
    with pytest.raises(CheckpointError, match=r"net\.pth has sha256 .* expected"):
        obtain(weights, Network(offline=False))


@pytest.mark.parametrize(
    ("path", "sha256", "told"),
    [
        ("short/net.pth", None, f"{len(CONTENT) // 2} of {len(CONTENT)} bytes came"),
        ("net.pth", "0" * 64, "its sha256 is"),
        ("missing/net.pth", None, "404"),
    ],
)
def test_a_bad_download_leaves_nothing(
    path: str, sha256: str | None, told: str, server: ThreadingHTTPServer, own_home: Path
) -> None:
    weights = at(server, path, sha256)
    with pytest.raises(WeightsUnavailable, match=told) as error:
        obtain(weights, Network(offline=False))
    assert "bring" in str(error.value) and weights.source in str(error.value)
    assert not [file for file in own_home.rglob("*") if file.is_file()]


def test_two_sources_of_one_file_name_do_not_meet(server: ThreadingHTTPServer) -> None:
    one, other = (obtain(at(server, f"{name}/model.safetensors"), Network(offline=False)) for name in "ab")
    assert one is not None and other is not None and one.path != other.path


def test_a_file_that_the_hub_lacks_is_unavailable(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(WeightsUnavailable, match=r"missing/repo/resolve/main/net\.safetensors could not be downloaded"):
        obtain(Weights("hub:missing/repo/net.safetensors", "MIT", "none"), Network(offline=False))


def test_the_hub_is_asked_through_its_own_client(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    weights = Weights("hub:owner/repo/model.safetensors", "MIT", "none", SHA256)
    for _ in range(2):
        found = obtain(weights, Network(offline=False))
        assert found is not None and found.path.read_bytes() == CONTENT and tmp_path / "hub" in found.path.parents
    assert sum(request.startswith("GET") for request in server.requests) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("switch", ["--offline", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody(switch: str, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    if switch == "HF_HUB_OFFLINE":
        monkeypatch.setenv(switch, "1")
    with pytest.raises(WeightsUnavailable, match="downloads are switched off"):
        obtain(at(server, "net.pth"), Network(offline=switch == "--offline"))
    assert server.requests == []  # type: ignore[attr-defined]


def test_hosts_that_do_not_answer_are_asked_once_and_together() -> None:
    """Two hosts that take the connection and say nothing: found out in one waiting time, then remembered."""
    import socket

    silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"http://127.0.0.1:{s.getsockname()[1]}/net.pth" for s in silent]
    network = Network(offline=False)
    started = time.monotonic()
    network.probe(addresses)
    first = time.monotonic() - started
    for address in addresses * 10:
        assert "no network" in (network.why_not(address) or "")
    assert time.monotonic() - started < first + 1
    assert first < 2 * 4.0  # PROBE_SECONDS for both together, not one after the other
    for s in silent:
        s.close()


def test_a_file_brought_by_hand_is_pinned_when_it_is_first_used(server: ThreadingHTTPServer) -> None:
    from bench.weights import _store

    weights = at(server, "net.pth")
    by_hand = _store(weights)
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(b"one")
    assert obtain(weights, Network(offline=True)) is not None
    by_hand.write_bytes(b"other")
    with pytest.raises(CheckpointError, match="to accept it"):
        obtain(weights, Network(offline=True))


@pytest.mark.parametrize("source", ["model.pth", "hub:resnet18", "file:/x", "package:no.such/x", "https://host"])
def test_a_source_of_no_known_form_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="weights source"):
        Weights(source, "MIT", "none")


def test_a_host_that_speaks_no_http_is_no_network() -> None:
    import socket

    rude = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = rude.accept()
        connection.recv(1000)
        connection.sendall(b"go away\r\n")
        connection.close()

    threading.Thread(target=answer, daemon=True).start()
    assert "no network" in (Network(offline=False).why_not(f"http://127.0.0.1:{rude.getsockname()[1]}/x") or "")
    rude.close()


def test_weights_inside_a_package() -> None:
    missing = Weights("package:not_installed_anywhere/net.pth", "MIT", "none")
    with pytest.raises(WeightsUnavailable, match="pip install not_installed_anywhere"):
        obtain(missing, Network(offline=True))
    assert obtain(Weights(TRAINING_FREE, "", "none"), Network(offline=True)) is None
