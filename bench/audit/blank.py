"""Blank images: they have no content to copy, and match each other in every descriptor."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from bench.names import escaped

#: Side in pixels at which PDQ's own code looks at an image.
SIDE = 512
#: PDQ looks at no smaller image: its quality is 0 whatever it shows.
LEAST_SIDE = 5
#: The table that `generate sample` leaves beside its images, and its columns of files and of what was withheld.
MANIFEST, FILE, WITHHELD = "manifest.csv", "file", "withheld"


def why_blank(image: Image.Image) -> str | None:
    """Return why an RGB image counts as blank, None where it does not.

    It has no variance, or PDQ gives its gradients the quality 0 (Facebook 2019, "The TMK+PDQF Video-Hashing Algorithm
    and the PDQ Image-Hashing Algorithm").
    """
    import pdqhash

    if np.ptp(np.array(image.getextrema()), axis=1).max() == 0:
        return "all its pixels are the same"
    if min(image.size) < LEAST_SIDE:
        return None
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    _, quality = pdqhash.compute(np.asarray(small))
    return None if quality else "it has no edges (PDQ quality 0)"


def withheld(folder: Path) -> Mapping[str, str]:
    """Find the samples in a folder that a model's safety checker withheld: image id -> reason."""
    try:
        with (folder / MANIFEST).open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get(WITHHELD) == str(True)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return {escaped(row[FILE]): "the model's safety checker withheld it" for row in rows if row.get(FILE)}
