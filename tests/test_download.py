"""Downloads over real connections that are cut, stall, lie about what they send, or are used by two at once."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.download import DownloadError, _retry_after, download
from tests.conftest import ROOT
from tests.serving import Asked, Handler, Server, serving

CONTENT = random.Random(0).randbytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = random.Random(1).randbytes(150_000)
AT_ONCE = (0.0, 0.0, 0.0)

Fault = Callable[[Handler], None]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights/net.pth"


def fetch(server: Server, file: Path, sha256: str | None = None, waits: tuple[float, ...] = AT_ONCE) -> str:
    return download(f"{server.address}/net.pth", file, sha256, waits=waits, stalled_s=10)


def ranges(server: Server) -> list[str | None]:
    return [asked.range for asked in server.gets]


def left(file: Path) -> set[str]:
    """What lies in the folder, the lock aside."""
    return {path.name for path in file.parent.iterdir()} - {f".{file.name}.lock"}


# --- how an answer may go wrong


def cut(after: int) -> Fault:
    """The connection ends in the body."""
    return lambda handler: handler.wfile.write(handler.begin_honestly()[:after]) and None


def refusal(status: int, **headers: str) -> Fault:
    return lambda handler: handler.begin(status, 0, **headers)


def whole(handler: Handler) -> None:
    """As a server that knows no ranges."""
    handler.begin(200, len(handler.content))
    handler.wfile.write(handler.content)


def told(length: int) -> Fault:
    """A Content-Length that is not the body's."""

    def answer(handler: Handler) -> None:
        handler.begin(200, length)
        handler.wfile.write(handler.content)

    return answer


def stall(after: int) -> Fault:
    """The server says nothing more, and does not hang up."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(handler.begin_honestly()[:after])
        handler.server.over.wait(60)

    return answer


def trickle(blocks: int, pause_s: float) -> Fault:
    def answer(handler: Handler) -> None:
        body = handler.begin_honestly()
        step = -(-len(body) // blocks)
        for start in range(0, len(body), step):
            handler.wfile.write(body[start : start + step])
            time.sleep(pause_s)

    return answer


def chunked(end: bytes) -> Fault:
    """Two chunks and no length; what does not end with an empty chunk was cut."""

    def answer(handler: Handler) -> None:
        handler.begin(200, None, Transfer_Encoding="chunked")
        for half in (CONTENT[:100_000], CONTENT[100_000:]):
            handler.wfile.write(f"{len(half):x}\r\n".encode() + half + b"\r\n")
        handler.wfile.write(end)

    return answer


# --- what becomes of it


def test_a_file_is_there_as_a_whole_and_asked_for_once(server: Server, file: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    for _ in range(2):
        found = download(f"{server.address}/net.pth", file, SHA256, lambda *progress: seen.append(progress))
        assert found == SHA256 and file.read_bytes() == CONTENT and left(file) == {"net.pth"}
    assert server.asked == [Asked("GET", "/net.pth", None, None)]
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert [received for received, _ in seen] == sorted(received for received, _ in seen)


def test_a_connection_that_is_cut_is_resumed_where_it_ended(server: Server, file: Path) -> None:
    """More often than there are waits: each attempt gets further."""
    server.faults = [cut(30_000)] * 5
    assert fetch(server, file, waits=(0.0,)) == SHA256 and file.read_bytes() == CONTENT
    assert ranges(server) == [None, *(f"bytes={done}-" for done in range(30_000, 180_000, 30_000))]
    assert {asked.if_range for asked in server.gets[1:]} == {f'"{SHA256}"'}


def test_a_later_call_resumes_what_an_earlier_one_left(server: Server, file: Path) -> None:
    server.faults = [cut(30_000), *[refusal(503)] * 3]
    with pytest.raises(DownloadError, match="503: Service Unavailable; tried 4 times"):
        fetch(server, file)
    assert left(file) == {"net.pth.part", "net.pth.part.json"}
    seen: list[int] = []
    download(f"{server.address}/net.pth", file, None, lambda received, total: seen.append(received))
    assert file.read_bytes() == CONTENT and ranges(server)[-1] == "bytes=30000-" and seen[0] == 30_000


def test_what_another_address_left_is_not_resumed(server: Server, file: Path) -> None:
    server.faults = [cut(30_000)]
    with pytest.raises(DownloadError):
        download(f"{server.address}/other.pth", file, waits=())
    assert fetch(server, file) == SHA256 and ranges(server) == [None, None]


@pytest.mark.parametrize(
    ("length", "why", "stays"),
    [
        (len(CONTENT) + 1, r"200000 of 200001 bytes came", {"net.pth.part", "net.pth.part.json"}),
        (len(CONTENT) - 1, r"200000 of 199999 bytes came", set()),
    ],
)
def test_a_length_that_is_not_the_bodys_is_no_file(
    length: int, why: str, stays: set[str], server: Server, file: Path
) -> None:
    server.faults = [told(length)] * 9
    with pytest.raises(DownloadError, match=why):
        fetch(server, file)
    assert left(file) == stays


def test_an_empty_answer_is_no_file(server: Server, file: Path) -> None:
    server.content = b""
    with pytest.raises(DownloadError, match="0 of 0 bytes came"):
        fetch(server, file)
    assert not file.exists()


@pytest.mark.parametrize("pin", ["0" * 64, "0" * 8])
def test_a_wrong_hash_leaves_nothing_and_is_not_asked_again(pin: str, server: Server, file: Path) -> None:
    server.faults = [cut(30_000)]
    with pytest.raises(DownloadError, match=rf"its sha256 is {SHA256[:16]}\.\.\., expected {pin[:16]}"):
        fetch(server, file, pin)
    assert left(file) == set() and len(server.gets) == 2


def test_the_first_digits_of_a_hash_are_enough(server: Server, file: Path) -> None:
    assert fetch(server, file, SHA256[:8]) == SHA256


def test_a_web_page_is_not_the_file(server: Server, file: Path) -> None:
    server.headers["Content-Type"] = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match=r"net\.pth could not be downloaded \(a web page came instead of the file"):
        fetch(server, file)
    assert left(file) == set() and len(server.gets) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final(status: int, server: Server, file: Path) -> None:
    server.faults = [refusal(status)]
    with pytest.raises(DownloadError, match=str(status)):
        fetch(server, file)
    assert left(file) == set() and len(server.gets) == 1


@pytest.mark.parametrize(("status", "wait_s"), [(429, 0), (500, 0), (503, 1)])
def test_a_busy_server_is_asked_again_when_it_says_so(status: int, wait_s: int, server: Server, file: Path) -> None:
    server.faults = [refusal(status, Retry_After=str(wait_s))]
    started = time.monotonic()
    assert fetch(server, file) == SHA256
    assert time.monotonic() - started >= wait_s and len(server.gets) == 2


def test_retry_after_is_a_number_or_a_date() -> None:
    def seconds(text: str) -> float:
        headers = Message()
        headers["Retry-After"] = text
        return _retry_after(headers)

    now = datetime.now(UTC)
    assert [seconds(text) for text in ("7", "0", "soon", "", "99999")] == [7, 0, 0, 0, 120]
    assert 50 < seconds(format_datetime(now + timedelta(seconds=60), usegmt=True)) <= 60
    assert seconds(format_datetime(now - timedelta(seconds=60), usegmt=True)) == 0
    assert _retry_after(Message()) == 0


def test_a_slow_server_is_waited_for(server: Server, file: Path) -> None:
    """All in all longer than a stalled one would be."""
    server.faults = [trickle(blocks=15, pause_s=0.1)]
    assert download(f"{server.address}/net.pth", file, waits=(), stalled_s=1) == SHA256
    assert ranges(server) == [None]


def test_a_stalled_server_is_asked_again_from_there(server: Server, file: Path) -> None:
    server.faults = [stall(50_000)]
    assert download(f"{server.address}/net.pth", file, waits=(0.0,), stalled_s=0.3) == SHA256
    assert ranges(server) == [None, "bytes=50000-"] and file.read_bytes() == CONTENT


def test_a_server_that_does_not_hang_up_has_sent_the_file(server: Server, file: Path) -> None:
    server.faults = [stall(len(CONTENT))]
    assert download(f"{server.address}/net.pth", file, waits=(0.0,), stalled_s=0.3) == SHA256
    assert ranges(server) == [None]


def test_a_server_without_ranges_sends_all_of_it_again(server: Server, file: Path) -> None:
    server.faults = [cut(30_000), whole]
    assert fetch(server, file) == SHA256 and file.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=30000-"]


def test_a_range_that_is_refused_starts_anew(server: Server, file: Path) -> None:
    server.faults = [cut(30_000), refusal(416)]
    assert fetch(server, file) == SHA256 and file.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=30000-", None]


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"ETag": 'W/"weak"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, "Mon, 01 Jan 2024 00:00:00 GMT"),
        ({"ETag": 'W/"weak"'}, None),
        ({"ETag": ""}, None),
    ],
)
def test_only_a_file_whose_version_is_known_is_resumed(
    headers: dict[str, str], named: str | None, server: Server, file: Path
) -> None:
    server.headers = headers
    server.faults = [cut(30_000)]
    assert fetch(server, file) == SHA256 and file.read_bytes() == CONTENT
    assert server.gets[1].if_range == named and (server.gets[1].range is None) == (named is None)


def goes_on(handler: Handler) -> None:
    """A server that knows ranges and not If-Range."""
    start, end = int(handler.headers["Range"][6:-1]), len(handler.content)
    handler.begin(206, end - start, Content_Range=f"bytes {start}-{end - 1}/{end}")
    handler.wfile.write(handler.content[start:])


def elsewhere(handler: Handler) -> None:
    handler.begin(206, 10, Content_Range=f"bytes 5-14/{len(CONTENT)}")
    handler.wfile.write(CONTENT[5:15])


@pytest.mark.parametrize(("etag", "content"), [('"one"', OTHER), ('"two"', OTHER), ('"two"', CONTENT[::-1])])
@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_a_file_that_changed_meanwhile_is_not_mixed(
    etag: str, content: bytes, ignores_if_range: bool, server: Server, file: Path
) -> None:
    """Told by another ETag or, where even that stays, by another length."""
    server.headers = {"ETag": '"one"'}

    def changes(handler: Handler) -> None:
        cut(30_000)(handler)
        server.content, server.headers = content, {"ETag": etag}

    server.faults = [changes, *([goes_on] if ignores_if_range else [whole] if etag == '"one"' else [])]
    assert fetch(server, file) == hashlib.sha256(content).hexdigest() and file.read_bytes() == content


def test_an_answer_from_elsewhere_in_the_file_starts_anew(server: Server, file: Path) -> None:
    server.faults = [cut(30_000), elsewhere]
    assert fetch(server, file) == SHA256 and ranges(server) == [None, "bytes=30000-", None]


def test_a_part_of_a_file_that_nobody_asked_for_is_refused(server: Server, file: Path) -> None:
    server.faults = [elsewhere]
    with pytest.raises(DownloadError, match="the server answered 206"):
        fetch(server, file)


def test_a_file_of_untold_length(server: Server, file: Path) -> None:
    Handler.protocol_version = "HTTP/1.1"
    try:
        server.faults = [chunked(end=b""), chunked(end=b"0\r\n\r\n")]
        seen: list[tuple[int, int | None]] = []
        download(f"{server.address}/net.pth", file, None, lambda *progress: seen.append(progress), AT_ONCE, 10)
    finally:
        Handler.protocol_version = "HTTP/1.0"
    assert file.read_bytes() == CONTENT and seen[-1] == (len(CONTENT), None) and len(server.gets) == 2


def test_nobody_there_is_one_sentence(file: Path) -> None:
    with serving(b"") as gone:
        address = gone.address
    with pytest.raises(DownloadError, match=rf"{address}/net\.pth could not be downloaded \(.*refused; tried 2 times"):
        download(f"{address}/net.pth", file, waits=(0.0,))


def test_a_place_that_cannot_be_written_is_one_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file")
    with pytest.raises(DownloadError, match=r"can't write .*weights/net\.pth"):
        fetch(server, tmp_path / "weights/net.pth")


def test_the_proxy_of_the_environment_is_asked(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.address)
    assert download("http://weights.invalid/net.pth", file) == SHA256
    assert server.asked == [Asked("GET", "http://weights.invalid/net.pth", None, None)]


def test_a_killed_process_is_gone_on_with_by_another(server: Server, file: Path) -> None:
    server.faults = [stall(50_000)]
    code = "import sys, pathlib; from bench.download import download; download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", code, f"{server.address}/net.pth", str(file)], cwd=ROOT)
    part = file.with_name("net.pth.part")
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not file.exists()
    begun = part.stat().st_size
    assert fetch(server, file) == SHA256 and file.read_bytes() == CONTENT
    assert begun > 0 and ranges(server) == [None, f"bytes={begun}-"]


def test_of_two_processes_and_a_thread_one_downloads(server: Server, file: Path) -> None:
    server.faults = [trickle(blocks=10, pause_s=0.1)]
    code = (
        "import sys, pathlib; from bench.download import download; "
        "print(download(sys.argv[1], pathlib.Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, f"{server.address}/net.pth", str(file)]
    others = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        here = list(pool.map(lambda _: fetch(server, file), range(2)))
    assert {*here, *(process.communicate()[0].strip() for process in others)} == {SHA256}
    assert len(server.gets) == 1 and file.read_bytes() == CONTENT


FAULTS = st.one_of(
    st.integers(0, 200_000).map(cut),
    st.sampled_from([whole, elsewhere, refusal(416), refusal(503)]),
    st.integers(199_990, 200_010).map(told),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(FAULTS, max_size=5))
def test_whatever_goes_wrong_the_file_is_whole_or_not_there(
    faults: list[Fault], server: Server, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The servers' own faults in any order; the ones that are final end it, and a later call makes it good."""
    file = tmp_path_factory.mktemp("any") / "net.pth"
    server.faults = list(faults)
    while True:
        try:
            assert fetch(server, file) == SHA256
            break
        except DownloadError:
            assert not file.exists()
    assert file.read_bytes() == CONTENT and left(file) == {"net.pth"}
