"""The seeded writer: the images of a plan, their pairs and their manifest, with the same bytes for any number of
workers."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.errors import DatasetError, UsageError
from bench.files import write_json
from bench.interfaces import Generator, ImageFile, Recipe
from bench.manifest import hashes, images_sha256
from bench.sources import Source
from datasets import _csv
from datasets._pairs import PAIRS
from datasets.demo._rng import Rng
from datasets.synthetic._kinds import Composition, Scene
from datasets.synthetic._masks import Masks, masks
from datasets.synthetic._painters import Painter, painter
from datasets.synthetic._pictures import picture
from datasets.synthetic._plan import Plan, Query, Reference, planned
from datasets.synthetic._regions import Pixels

MANIFEST = "manifest.json"
LEAST_AREA = 0.01
COLUMNS = ("query", "reference", "tags", "kind", "area", "box", "transformation", "original", "other")
PACKAGES = ("pillow", "opencv-python-headless", "numpy")
Row = dict[str, str]


@dataclass(frozen=True)
class Synthetic(Generator):
    """Copies by one composition. uses: which of a recipe's painter, masks and level it has a use for."""

    compose: Composition
    uses: frozenset[str]

    def make(
        self,
        source: Source,
        backgrounds: Source | None,
        folder: Path,
        recipe: Recipe,
        progress: Callable[[int, int], object],
    ) -> None:
        self._require(recipe)
        _Writer(self, source, backgrounds, recipe).write(folder, progress)

    def _require(self, recipe: Recipe) -> None:
        for name in ("painter", "masks", "level"):
            if getattr(recipe, name) is not None and name not in self.uses:
                raise UsageError(f"{self.name} has no use for a {name}: leave out --{name} {getattr(recipe, name)}")
        if recipe.level not in (None, "hard"):
            raise UsageError(f"there is no level '{recipe.level}': the one beside the plain one is hard")
        if not 0 < recipe.unmatched < 1:
            raise UsageError(f"the share of queries without a match is {recipe.unmatched:g}: it lies between 0 and 1")
        for area in recipe.areas:
            if not LEAST_AREA <= area <= 1 - LEAST_AREA or recipe.areas.count(area) > 1:
                raise UsageError(
                    f"the area {area:g} is not from {LEAST_AREA} to {1 - LEAST_AREA}, or is given twice: correct it"
                )


@dataclass(frozen=True)
class _Writer:
    """One set being made: everything that its images need is loaded before the first is written."""

    kind: Synthetic
    source: Source
    backgrounds: Source | None
    recipe: Recipe

    @cached_property
    def _masks(self) -> Masks | None:
        return masks(self.recipe.masks) if "masks" in self.kind.uses else None

    @cached_property
    def _painter(self) -> Painter | None:
        return painter(self.recipe.painter or "opencv") if "painter" in self.kind.uses else None

    @cached_property
    def _images(self) -> tuple[list[ImageFile], dict[str, str]]:
        """The source's images, of identical ones the first, and their hashes."""
        hashed = hashes(self.source.images)
        different = {(hashed[image.id], image.box): image for image in reversed(self.source.images)}
        return list(different.values())[::-1], hashed

    def _plan(self) -> Plan:
        images, hashed = self._images
        has = [self._masks is None or self._masks.has(image) for image in images]
        copyable, others = ([image for image, h in zip(images, has, strict=True) if h is w] for w in (True, False))
        if not copyable:
            assert self._masks is not None
            raise DatasetError(f"no image of {self.source.identity} has a mask ({self._masks.kind}): name its masks")
        return planned(copyable, others, self._backgrounds(set(hashed.values())), self.recipe)

    def _backgrounds(self, taken: set[str]) -> list[ImageFile] | None:
        """Those that are not in the source: there they would be copies that the ground truth does not name."""
        if self.backgrounds is None:
            return None
        hashed = hashes(self.backgrounds.images)
        apart = [image for image in self.backgrounds.images if hashed[image.id] not in taken]
        if not apart:
            raise DatasetError(f"every background of {self.backgrounds.identity} is in the source too: name others")
        return apart

    def write(self, folder: Path, progress: Callable[[int, int], object]) -> None:
        """Fill a folder."""
        self._painter  # noqa: B018 - a missing model is told before the work begins
        plan = self._plan()
        for name in ("queries", "references"):
            (folder / name).mkdir()
        jobs = [partial(self._reference, folder, reference) for reference in plan.references]
        jobs += [partial(self._query, folder, query) for query in plan.queries]
        rows: list[Row] = []
        for done, found in enumerate(_parallel(jobs, self.recipe.workers)):
            rows += found
            progress(done + 1, len(jobs))
        if not any(row["reference"] for row in rows):
            raise DatasetError(f"no object can take the areas {self.recipe.areas} of a query: ask for smaller ones")
        _csv.write(folder / PAIRS, rows, COLUMNS)
        write_json(folder / MANIFEST, self._manifest(plan, len(rows)))

    def _reference(self, folder: Path, reference: Reference) -> list[Row]:
        self._save(np.asarray(picture(reference.image).fitted(self.recipe.size)), folder / _path(reference))
        return []

    def _query(self, folder: Path, query: Query) -> list[Row]:
        """One for each area."""
        seed = f"{self.recipe.seed}/{self.kind.name}/{query.name}"
        opened = picture(query.original)
        rgb = opened.fitted(self.recipe.size)
        takes_other = self._painter is None or self._painter.takes_other
        other = np.asarray(picture(query.other).fitted(self.recipe.size)) if takes_other else None
        mask, origin = self._masks.of(query.original, opened, Rng(f"{seed}/mask")) if self._masks else (None, "")
        scene = Scene(
            np.asarray(rgb),
            other,
            mask.resize(rgb.size, Image.Resampling.BICUBIC) if mask else None,
            self._painter,
            self.recipe.feather,
            self.recipe.level == "hard",
        )
        rows = []
        for area in self.recipe.areas or (None,):
            copy = self.kind.compose(scene, area, Rng(seed))
            if copy is None:
                continue
            name = f"queries/{query.name}{'' if area is None else f'_{area:g}'}.jpg"
            self._save(copy.pixels, folder / name)
            rows.append(
                {
                    "query": name,
                    "reference": _path(query.reference) if query.reference else "",
                    "tags": "" if area is None else f"area={area:g}",
                    "kind": self.kind.name,
                    "area": f"{copy.area:.4f}",
                    "box": " ".join(map(str, copy.box)),
                    "transformation": "; ".join(filter(None, [origin and f"mask={origin}", copy.transformation])),
                    "original": query.original.id,
                    "other": query.other.id if takes_other else "",
                }
            )
        return rows

    def _save(self, pixels: Pixels, path: Path) -> None:
        """The one JPEG pass that queries and references share."""
        Image.fromarray(pixels).save(path, quality=self.recipe.jpeg)

    def _manifest(self, plan: Plan, n_queries: int) -> dict[str, Any]:
        images, hashed = self._images
        chosen = {name: value for name, value in asdict(self.recipe).items() if name not in ("workers", "seed")}
        packages = (*PACKAGES, *(self._painter.packages if self._painter else ()))
        return {
            "kind": self.kind.name,
            "painter": (self.recipe.painter or "opencv") if self._painter else None,
            "masks": self._masks.kind if self._masks else None,
            "seed": self.recipe.seed,
            "source": {
                "identity": self.source.identity,
                "sha256": images_sha256(self.source.images, hashed),
                "images": len(self.source.images),
                "identical_files_left_out": len(self.source.images) - len(images),
            },
            "backgrounds": self.backgrounds.identity if self.backgrounds else None,
            "parameters": chosen,
            "versions": {name: version(name) for name in packages},
            "queries": n_queries,
            "queries_out_of_reach": len(plan.queries) * max(1, len(self.recipe.areas)) - n_queries,
            "references": len(plan.references),
            "originals": plan.n_originals,
        }


def _path(reference: Reference) -> str:
    return f"references/{reference.name}.jpg"


def _parallel(jobs: Sequence[Callable[[], list[Row]]], workers: int) -> Iterator[list[Row]]:
    """The jobs' results in order; what has not begun is dropped where one fails or the user stops."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(lambda job: job(), jobs)
    finally:
        pool.shutdown(cancel_futures=True)
