"""Finding, downloading and verifying weights, against a local server over real HTTP."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import CheckpointError, UsageError, WeightsUnavailable
from bench.interfaces import TRAINING_FREE, Weights
from bench.weights import Network, Obtained, WeightsStore, stored_at
from tests.serving import Server, serving

CONTENT = b"weights " * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = b"other weights"
HUB = "hub:owner/repo/model.safetensors"
MAIN = "/owner/repo/resolve/main/model.safetensors"
COMMIT = "0" * 40
CONFIG = f"/owner/repo/resolve/{COMMIT}/config.json"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """The server as the Hugging Face hub, and an empty cache."""
    import huggingface_hub.constants as constants

    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    server.headers = {"X-Repo-Commit": COMMIT}
    return server


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    (tmp_path / "by_hand").mkdir()
    return tmp_path / "by_hand"


def at(server: Server, path: str, sha256: str | None = None, **more: Any) -> Weights:
    return Weights(f"{server.address}/{path}", "MIT", "none", sha256, **more)


def online(by_hand: Path | None = None, allow_code: bool = False) -> WeightsStore:
    return WeightsStore(Network(offline=False), by_hand, allow_code)


def offline(by_hand: Path | None = None, allow_code: bool = False) -> WeightsStore:
    return WeightsStore(Network(offline=True), by_hand, allow_code)


def obtained(store: WeightsStore, weights: Weights) -> Obtained:
    found = store.obtain(weights)
    assert found is not None
    return found


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def gets(server: Server) -> list[str]:
    return [asked.path for asked in server.gets]


# --- downloads


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_download_is_kept_and_its_hash_is_recorded(sha256: str | None, server: Server) -> None:
    weights = at(server, "models/net.pth", sha256)
    assert online().find(weights) is None
    for _ in range(2):
        found = obtained(online(), weights)
        assert found == Obtained(stored_at(weights.source), SHA256, weights.source)
        assert found.path.read_bytes() == CONTENT
    assert gets(server) == ["/models/net.pth"]
    found.path.write_bytes(b"changed since")
    with pytest.raises(CheckpointError, match=r"net\.pth has sha256 .* expected"):
        online().obtain(weights)


@pytest.mark.parametrize(
    ("path", "sha256", "told"), [("net.pth", "0" * 64, "its sha256 is"), ("gone.pth", None, "404")]
)
def test_a_bad_download_leaves_nothing(
    path: str, sha256: str | None, told: str, server: Server, own_home: Path
) -> None:
    server.refused = {"/gone.pth": 404}
    weights = at(server, path, sha256)
    with pytest.raises(WeightsUnavailable, match=told) as error:
        online().obtain(weights)
    assert f"bring {weights.source} by hand" in str(error.value)
    assert [file.suffix for file in own_home.rglob("*") if file.is_file()] == [".lock"]


def test_a_download_tells_how_far_it_is(server: Server) -> None:
    seen: list[tuple[int, int | None]] = []
    online().obtain(at(server, "net.pth"), lambda *progress: seen.append(progress))
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))


def test_two_sources_of_one_file_name_do_not_meet(server: Server) -> None:
    one, other = (obtained(online(), at(server, f"{name}/model.safetensors")) for name in "ab")
    assert one.path != other.path


def test_a_source_that_cannot_be_had_is_replaced_by_its_mirrors(server: Server) -> None:
    """The pinned hash is the source's own."""
    server.refused = {"/a/net.pth": 404, "/b/net.pth": 403}
    mirrors = tuple(f"{server.address}/{name}/net.pth" for name in "bcd")
    found = obtained(online(), at(server, "a/net.pth", "0" * 64, mirrors=mirrors))
    assert (found.source, found.sha256) == (mirrors[1], SHA256)
    assert gets(server) == ["/a/net.pth", "/b/net.pth", "/c/net.pth"]
    assert obtained(offline(), at(server, "a/net.pth", "0" * 64, mirrors=mirrors)) == found


def test_all_that_failed_is_told(server: Server) -> None:
    server.refused = {"/a/net.pth": 404, "/b/other.pth": 403}
    weights = at(server, "a/net.pth", mirrors=(f"{server.address}/b/other.pth",))
    with pytest.raises(WeightsUnavailable) as error:
        online().obtain(weights)
    told = str(error.value)
    assert "a/net.pth could not be downloaded (HTTP Error 404" in told and "b/other.pth could not" in told
    assert "as net.pth or other.pth in a folder that --weights-dir names" in told
    assert f"or as {stored_at(weights.source)}" in told


# --- the network


@pytest.mark.parametrize("switch", ["--offline", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody(switch: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if switch == "HF_HUB_OFFLINE":
        monkeypatch.setenv(switch, "1")
    store = WeightsStore(Network(offline=switch == "--offline"))
    weights = at(server, "net.pth", mirrors=(f"{server.address}/other.pth",))
    store.probe([weights])
    with pytest.raises(WeightsUnavailable) as error:
        store.obtain(weights)
    assert str(error.value).count("downloads are switched off (--offline or HF_HUB_OFFLINE)") == 1
    assert server.asked == []


def test_hosts_are_asked_once_for_what_is_missing(server: Server) -> None:
    with serving(CONTENT) as mirror, serving(CONTENT) as idle:
        put(stored_at(f"{idle.address}/here.pth"))
        store = online()
        store.probe([at(server, "net.pth", mirrors=(f"{mirror.address}/net.pth",)), at(idle, "here.pth")])
        assert [[asked.method for asked in s.asked] for s in (server, mirror, idle)] == [["HEAD"], ["HEAD"], []]
        store.obtain(at(server, "net.pth"))
        assert [asked.method for asked in server.asked] == ["HEAD", "GET"]


def test_hosts_that_do_not_answer_are_asked_once_and_together() -> None:
    """Two hosts that take the connection and say nothing: found out in one waiting time, then remembered."""
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


def test_a_host_that_speaks_no_http_is_no_network() -> None:
    rude = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = rude.accept()
        connection.recv(1000)
        connection.sendall(b"go away\r\n")
        connection.close()

    threading.Thread(target=answer, daemon=True).start()
    why = Network(offline=False).why_not(f"http://127.0.0.1:{rude.getsockname()[1]}/x") or ""
    assert "no network" in why and "go away" in why
    rude.close()


# --- the hub


def test_the_hub_is_asked_through_its_own_client(hub: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    weights = Weights(HUB, "MIT", "none", SHA256)
    for _ in range(2):
        found = online().obtain(weights, lambda *progress: seen.append(progress))
        assert found is not None and (found.sha256, found.source) == (SHA256, HUB)
        assert found.path.read_bytes() == CONTENT and tmp_path / "hub" in found.path.parents
    assert gets(hub) == [MAIN] and seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_file_that_the_hub_lacks_is_unavailable(hub: Server) -> None:
    hub.refused = {MAIN: 404}
    with pytest.raises(WeightsUnavailable, match=r"repo/resolve/main/model\.safetensors could not be .*answers 404"):
        online().obtain(Weights(HUB, "MIT", "none"))


@pytest.mark.parametrize(("status", "code"), [(401, "GatedRepo"), (403, "GatedRepo"), (401, ""), (403, "")])
def test_a_gated_file_says_how_to_get_it(status: int, code: str, hub: Server) -> None:
    hub.refused = {MAIN: status}
    hub.headers["X-Error-Code"] = code
    with pytest.raises(WeightsUnavailable) as error:
        online().obtain(Weights(HUB, "MIT", "none", companions=("config.json",), gated=True))
    told = str(error.value)
    assert "accept the licence at https://huggingface.co/owner/repo and set HF_TOKEN" in told
    assert f"bring {hub.address}{MAIN} by hand with config.json beside it" in told
    assert "as owner/repo/model.safetensors or repo.safetensors in a folder" in told


def test_the_files_beside_come_with_it(hub: Server) -> None:
    hub.files = {CONFIG: b"{}"}
    found = obtained(online(), Weights(HUB, "MIT", "none", companions=("config.json",)))
    assert found.path.with_name("config.json").read_bytes() == b"{}"
    assert gets(hub) == [MAIN, CONFIG]


def test_a_file_beside_that_the_hub_lacks_is_asked_for_once(hub: Server) -> None:
    hub.refused = {CONFIG: 404}
    for code in ("", "EntryNotFound", "EntryNotFound"):
        # the client remembers it only where the answer has this header, which the main file does not mind
        hub.headers["X-Error-Code"] = code
        found = obtained(online(), Weights(HUB, "MIT", "none", companions=("config.json",)))
        assert not found.path.with_name("config.json").exists()
    assert [asked.path for asked in hub.asked if "config" in asked.path] == [CONFIG] * 2


def test_a_file_beside_is_brought_later_too(hub: Server) -> None:
    """Another program, or a run that was cut, left only the main file; without a network the loader has to judge."""
    obtained(online(), Weights(HUB, "MIT", "none"))
    weights = Weights(HUB, "MIT", "none", companions=("config.json",))
    assert not obtained(offline(), weights).path.with_name("config.json").exists()
    hub.refused = {CONFIG: 403}
    with pytest.raises(WeightsUnavailable, match="run again, or bring it by hand beside"):
        online().obtain(weights)
    hub.refused = {}
    assert obtained(online(), weights).path.with_name("config.json").exists()


# --- files brought by hand


@pytest.mark.parametrize(
    "name",
    ["repo.safetensors", "repo/model.safetensors", "owner/repo/model.safetensors", "owner__repo/model.safetensors"],
)
def test_a_hub_file_by_hand(name: str, by_hand: Path) -> None:
    weights = Weights(HUB, "MIT", "none")
    put(by_hand / "model.safetensors")  # of which model?
    assert offline(by_hand).find(weights) is None
    path = put(by_hand / name)
    assert obtained(offline(by_hand), weights) == Obtained(path, SHA256, HUB)


def test_any_published_file_by_hand(by_hand: Path, server: Server) -> None:
    """Before what was downloaded earlier; the source's before the mirrors'."""
    weights = at(server, "a/net.pth", SHA256, mirrors=(HUB, f"{server.address}/b/other.pt"))
    online().obtain(weights)
    assert obtained(offline(by_hand), weights).path == stored_at(weights.source)
    for name, source in [("other.pt", weights.mirrors[1]), ("repo.safetensors", HUB), ("net.pth", weights.source)]:
        path = put(by_hand / name)
        assert obtained(offline(by_hand), weights) == Obtained(path, SHA256, source)


def test_a_folder_that_is_not_there_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere: give --weights-dir"):
        offline(tmp_path / "nowhere")


def test_a_file_in_the_cache_folder_is_pinned_when_it_is_first_used(server: Server) -> None:
    weights = at(server, "net.pth")
    brought = put(stored_at(weights.source), b"one")
    offline().obtain(weights)
    brought.write_bytes(b"other")
    with pytest.raises(CheckpointError, match="to accept it"):
        offline().obtain(weights)


def test_a_file_by_hand_is_pinned_when_it_is_first_used(server: Server, by_hand: Path) -> None:
    """By the same note, wherever it lies."""
    weights = at(server, "net.pth")
    put(by_hand / "net.pth", OTHER)
    offline(by_hand).obtain(weights)
    put(stored_at(weights.source))
    with pytest.raises(
        CheckpointError, match=rf"has sha256 {SHA256[:16]}.*expected {hashlib.sha256(OTHER).hexdigest()[:16]}"
    ):
        offline().obtain(weights)


def test_a_file_by_hand_is_not_taken_for_another_of_the_same_name(server: Server, by_hand: Path) -> None:
    one, other = (at(server, f"{folder}/net.pth") for folder in "ab")
    put(by_hand / "net.pth")
    for _ in range(2):
        assert obtained(offline(by_hand), one).path == by_hand / "net.pth"
    with pytest.raises(CheckpointError, match=rf"used before as the one of .*__a: .* call it {by_hand}/b/net\.pth$"):
        offline(by_hand).obtain(other)
    for content in (OTHER, CONTENT):  # told apart by the longer name, even where they are the same
        path = put(by_hand / "b/net.pth", content)
        assert obtained(offline(by_hand), other).path == path
        stored_at(other.source).with_name("net.pth.sha256").unlink()


# --- hashes


@pytest.mark.parametrize("form", ["{}/net-{}.pth", "hub:owner/repo/net-{}.pth"])
def test_the_digits_in_a_file_name_are_its_hash(form: str, server: Server, by_hand: Path) -> None:
    def named(digits: str) -> Weights:
        return Weights(form.format(*([server.address] if "{}/" in form else []), digits), "MIT", "none")

    for digits in (SHA256[:8], SHA256):
        put(by_hand / f"net-{digits}.pth"), put(by_hand / f"owner/repo/net-{digits}.pth")
        assert obtained(offline(by_hand), named(digits)).sha256 == SHA256
    put(by_hand / "net-0676ba61.pth"), put(by_hand / "owner/repo/net-0676ba61.pth")
    with pytest.raises(CheckpointError, match=r"expected 0676ba61\.\.\.: it is damaged or another file; .*again$"):
        offline(by_hand).obtain(named("0676ba61"))


def test_a_download_is_held_against_the_digits_in_its_name(server: Server) -> None:
    with pytest.raises(WeightsUnavailable, match=r"its sha256 is .*expected 0676ba61"):
        online().obtain(at(server, "resnet50-0676ba61.pth"))
    assert obtained(online(), at(server, f"net-{SHA256[:8]}.pth")).sha256 == SHA256


@pytest.mark.parametrize("name", ["net-20240131.pth", "net-0676ba6.pth", "net-00001-of-00002.pth", "net_0676ba61.pth"])
def test_a_date_or_a_number_is_no_hash(name: str, server: Server) -> None:
    assert obtained(online(), at(server, name)).sha256 == SHA256


def test_a_file_is_hashed_once_in_a_process_while_it_stays(server: Server) -> None:
    """Seen by a change that keeps size and time."""
    weights, store = at(server, "net.pth"), online()
    found = obtained(store, weights)
    state = found.path.stat()
    found.path.write_bytes(CONTENT[::-1])
    os.utime(found.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert obtained(store, weights).sha256 == SHA256
    with pytest.raises(CheckpointError, match="expected"):
        online().obtain(weights)


# --- programs


def test_a_program_needs_a_published_hash_or_leave(server: Server, by_hand: Path) -> None:
    """Its whole hash, and the file that it was published of: neither digits in a name nor a mirror."""
    name = f"net-{SHA256[:8]}.pt"
    put(by_hand / name)
    for store in (online(), offline(by_hand)):
        with pytest.raises(WeightsUnavailable, match=rf"{name} are a program.*give --allow-code"):
            store.obtain(at(server, name, carries_code=True))
    assert server.asked == []
    assert obtained(online(allow_code=True), at(server, name, carries_code=True)).sha256 == SHA256
    assert obtained(online(), at(server, "net.pt", SHA256, carries_code=True)).sha256 == SHA256


def test_a_program_does_not_come_from_a_mirror(server: Server, by_hand: Path) -> None:
    server.refused = {"/net.pt": 404}
    put(by_hand / "mirror.pt")
    weights = at(server, "net.pt", SHA256, carries_code=True, mirrors=(f"{server.address}/mirror.pt",))
    with pytest.raises(WeightsUnavailable, match="404"):
        online(by_hand).obtain(weights)
    assert obtained(online(by_hand, allow_code=True), weights).path == by_hand / "mirror.pt"


# --- sources on this machine


@pytest.mark.parametrize("source", ["model.pth", "hub:resnet18", "package:no.such/x", "https://host", "file:"])
def test_a_source_of_no_known_form_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="weights source"):
        Weights(source, "MIT", "none")
    with pytest.raises(UsageError, match="weights source"):
        Weights("none", "MIT", "none", mirrors=(source,))


def test_weights_inside_a_package() -> None:
    missing = Weights("package:not_installed_anywhere/net.pth", "MIT", "none")
    with pytest.raises(WeightsUnavailable, match=r"pip install not_installed_anywhere$"):
        offline().obtain(missing)
    assert offline().obtain(Weights(TRAINING_FREE, "", "none")) is None


def test_a_file_of_ones_own(tmp_path: Path, own_home: Path) -> None:
    """It may change, its name says nothing, and no note is kept of it."""
    weights = Weights(f"file:{tmp_path}/mine-00000000.pth", "MIT", "none")
    with pytest.raises(CheckpointError, match=rf"^there is no file {tmp_path}/mine-00000000\.pth$"):
        offline().obtain(weights)
    for content in (CONTENT, OTHER):
        path = put(tmp_path / "mine-00000000.pth", content)
        assert obtained(offline(), weights) == Obtained(path, hashlib.sha256(content).hexdigest(), weights.source)
    assert not own_home.exists()
    with pytest.raises(CheckpointError, match="expected 0000"):
        offline().obtain(Weights(weights.source, "MIT", "none", "0" * 64))
