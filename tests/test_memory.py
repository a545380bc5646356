"""Memory of an extraction: it must not grow with the descriptors."""

import os
import subprocess
import sys

from tests.conftest import ROOT

N_IMAGES, DIMENSION = 20_000, 2048

SCRIPT = f"""
import resource, tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image

from bench.extract import Extraction, extract
from bench.interfaces import NATIVE, Descriptors, ImageFile
from bench.manifest import contents, hashes, images_sha256
from bench.store import DescriptorStore


class Flat:
    n_parameters = 0

    def describe(self, batch):
        return Descriptors(torch.ones(len(batch), {DIMENSION}))


def run(n_images, path, folder):
    files = [ImageFile(f"image{{n}}", Path(path)) for n in range(n_images)]
    sha256 = hashes(files)
    key, names = {{"images": images_sha256(files, sha256)}}, contents(files, sha256)
    store = DescriptorStore(folder)
    with store.filling(key, names) as writer:
        left = iter(names)

        def keep(rows):
            writer.append(rows, [next(left) for _ in rows])

        speed = extract(Flat(), files, Extraction(NATIVE, 32, 2), keep)
        writer.finish(n_parameters=0, throughput=asdict(speed), hardware={{}}, measured_utc="")
    return store.find(key).descriptors.shape


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "image.png"
    Image.new("RGB", (4, 4)).save(path)
    run(320, str(path), Path(folder) / "store")
    before = peak()
    assert run({N_IMAGES}, str(path), Path(folder) / "store") == ({N_IMAGES}, {DIMENSION})
    print(peak() - before)
"""


def test_extraction_holds_no_more_than_some_batches() -> None:
    """The descriptors alone are 164 MB; in proportion to 200 MB for 100,000 images, 40 MB are allowed in all."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert int(answer.stdout) < 200e6 * N_IMAGES / 100_000
