"""Warnings of decoders: counted by kind and file inside the context, and left alone outside of it."""

import logging
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import images
from bench.errors import ImageError
from bench.images import notices
from tests import crafted

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture
def damaged(tmp_path: Path) -> dict[str, Path]:
    """Files that decoders warn of: by libtiff, by Python, by a log record; and one that is whole."""
    files = {name: tmp_path / f"{name}.tif" for name in ("fax", "lzw", "tag", "samples", "whole")}
    Image.fromarray(NOISE).convert("1").save(files["fax"], compression="group4")
    content = bytearray(files["fax"].read_bytes())
    content[20 : len(content) // 2 : 7] = b"\xaa" * len(range(20, len(content) // 2, 7))
    files["fax"].write_bytes(content)
    Image.fromarray(NOISE).save(files["lzw"], compression="tiff_lzw")
    content = bytearray(files["lzw"].read_bytes())
    content[2000:2100] = b"\xff" * 100
    files["lzw"].write_bytes(content)
    tags = crafted.tiff_tags(8, 8)
    content = bytearray(crafted.tiff(tags | {305: ("B", [65] * 100)}, bytes(64)))
    place = content.index(b"\x31\x01\x01\x00") + 4
    content[place : place + 4] = (2**30).to_bytes(4, "little")
    files["tag"].write_bytes(content)
    files["samples"].write_bytes(crafted.tiff(tags | {277: ("I", [2**20])}, bytes(64)))
    Image.fromarray(NOISE).save(files["whole"])
    return files


def decode(path: Path) -> None:
    with suppress(ImageError):
        images.decode(path)


def test_warnings_are_counted_by_kind_and_file_and_not_printed(
    damaged: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    with images.counted() as found:
        for _ in range(3):
            for path in damaged.values():
                decode(path)
    assert capfd.readouterr() == ("", "")
    rows = found.rows()
    assert rows == sorted(rows)
    files = {name: {kind: count for kind, file, count in rows if file == str(path)} for name, path in damaged.items()}
    assert any(kind.startswith("Fax") for kind in files["fax"])
    assert files["lzw"]["tempfile.tif: Using code not yet in table"] == 3
    assert files["tag"]["Tag data larger than file. Skipping tag N"] >= 3
    assert files["samples"]["More samples per pixel than can be decoded: N"] >= 3
    assert files["whole"] == {}
    assert all(count % 3 == 0 for _, _, count in rows)


def test_outside_of_the_context_nothing_is_changed(damaged: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    shown, filters, logger = warnings.showwarning, list(warnings.filters), logging.getLogger("PIL")
    handlers, propagated = list(logger.handlers), logger.propagate
    with images.counted() as found:
        with images.counted() as inner:
            decode(damaged["lzw"])
        assert inner.rows() == found.rows() != []
        decode(damaged["fax"])
    assert len(found.rows()) > len(inner.rows())
    assert (warnings.showwarning, list(warnings.filters)) == (shown, filters)
    assert (list(logger.handlers), logger.propagate) == (handlers, propagated)
    before = found.rows()
    capfd.readouterr()
    decode(damaged["lzw"])
    assert found.rows() == before and not notices.note("nobody counts this")
    assert capfd.readouterr().err != ""


def test_threads_count_for_their_own_files(damaged: dict[str, Path]) -> None:
    with images.counted() as found, ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [damaged["lzw"], damaged["tag"], damaged["fax"], damaged["whole"]] * 25))
    alone = {}
    for name in ("lzw", "tag", "fax"):
        with images.counted() as once:
            decode(damaged[name])
        alone |= {(kind, file): count for kind, file, count in once.rows()}
    assert {(kind, file): count for kind, file, count in found.rows()} == {key: 25 * n for key, n in alone.items()}


def test_what_is_warned_of_while_no_image_is_read_passes(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="of another kind"), images.counted() as found:
        warnings.warn("of another kind", UserWarning, stacklevel=1)
    assert found.rows() == []


def test_rows_can_be_read_while_others_are_added(tmp_path: Path) -> None:
    found, stop = notices.Notices(), threading.Event()

    def add() -> None:
        while not stop.is_set():
            found.add("a kind", str(len(found.rows())))

    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(add)
        for _ in range(200):
            found.rows()
        stop.set()
    assert all(count > 0 for _, _, count in found.rows())


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, bench.images; print(sorted({'torch', 'torchvision', 'pandas', 'scipy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    )
    assert done.stdout.strip() == "[]"
