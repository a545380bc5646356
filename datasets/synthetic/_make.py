"""The seeded writer: the images of a plan, their pairs and their manifest, with the same bytes for any number of
workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
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
from datasets.synthetic._kinds import Composition, Copy, Miss, Scene
from datasets.synthetic._masks import Masks, masks
from datasets.synthetic._painters import Painter, painter
from datasets.synthetic._pictures import picture
from datasets.synthetic._plan import Plan, Query, Reference, planned
from datasets.synthetic._regions import Pixels

MANIFEST = "manifest.json"
LEAST_AREA = 0.01
DRAWS = 16  # of a query, until what it copies shows something at every area
COLUMNS = ("query", "reference", "tags", "kind", "area", "box", "transformation", "original", "other")
PACKAGES = ("pillow", "opencv-python-headless", "numpy")
Row = dict[str, str]
Area = float | None  # None: the kind's own


@dataclass(frozen=True)
class Made:
    """What came of one file's job: a query's rows, one for each area, or why it has none. Of a reference neither."""

    rows: Sequence[Row] = ()
    missed: Mapping[Area, Miss] = field(default_factory=dict)
    matched: bool = False

    @property
    def out_of_reach(self) -> list[Area]:
        return [area for area, miss in self.missed.items() if miss is Miss.OUT_OF_REACH]


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
                raise UsageError(f"{self.name} has no use for --{name} {getattr(recipe, name)}: leave it out")
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
    def _pictures(self) -> list[ImageFile]:
        """The source's images without the masks, which may lie in the same folder."""
        folders = self._masks.folders if self._masks else ()
        found = [i for i in self.source.images if not any(i.path.resolve().is_relative_to(f) for f in folders)]
        if not found:
            raise DatasetError(
                f"every image of {self.source.identity} is one of the masks: name a folder of masks apart"
            )
        return found

    @cached_property
    def _images(self) -> tuple[list[ImageFile], dict[str, str]]:
        """Of identical images the first, and the hashes of all."""
        hashed = hashes(self._pictures)
        different = {(hashed[image.id], image.box): image for image in reversed(self._pictures)}
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
        made: list[Made] = []
        for done, found in enumerate(_parallel(jobs, self.recipe.workers)):
            made.append(found)
            progress(done + 1, len(jobs))
        self._require_matches(made)
        _csv.write(folder / PAIRS, [row for job in made for row in job.rows], COLUMNS)
        write_json(folder / MANIFEST, self._manifest(plan, made))

    def _require_matches(self, made: Sequence[Made]) -> None:
        matched = [job for job in made if job.matched]
        if any(job.rows for job in matched):
            return
        if not all(job.out_of_reach for job in matched):
            raise DatasetError(
                f"no image of {self.source.identity} shows anything in the part to be copied: name other images, "
                "or ask for larger areas"
            )
        areas = min((job.out_of_reach for job in matched), key=len)
        raise DatasetError(
            f"no object of {self.source.identity} reaches the area {', '.join(map(str, areas))} of a query: ask for "
            "smaller ones"
        )

    def _reference(self, folder: Path, reference: Reference) -> Made:
        self._save(np.asarray(picture(reference.image).fitted(self.recipe.size)), folder / _path(reference))
        return Made()

    def _query(self, folder: Path, query: Query) -> Made:
        """One for each area, or for none: at every area there are the same queries."""
        opened = picture(query.original)
        rgb = opened.fitted(self.recipe.size)
        other = np.asarray(picture(query.other).fitted(self.recipe.size)) if self._takes_other else None
        matched, missed = query.reference is not None, []
        for draw in range(DRAWS):
            seed = f"{self.recipe.seed}/{self.kind.name}/{query.name}/{draw}"
            mask, origin = self._masks.of(query.original, opened, Rng(f"{seed}/mask")) if self._masks else (None, "")
            scene = Scene(
                np.asarray(rgb),
                other,
                mask.resize(rgb.size, Image.Resampling.BICUBIC) if mask else None,
                self._painter,
                self.recipe.feather,
                self.recipe.level == "hard",
            )
            found = {area: self.kind.compose(scene, area, Rng(seed)) for area in self.recipe.areas or (None,)}
            copies = {area: copy for area, copy in found.items() if isinstance(copy, Copy)}
            if len(copies) == len(found):
                return Made(
                    [self._row(folder, query, area, copy, origin) for area, copy in copies.items()], {}, matched
                )
            missed.append({area: miss for area, miss in found.items() if isinstance(miss, Miss)})
        return Made((), min(missed, key=len), matched)

    @property
    def _takes_other(self) -> bool:
        return self._painter is None or self._painter.takes_other

    def _row(self, folder: Path, query: Query, area: Area, copy: Copy, origin: str) -> Row:
        """Of a query, whose image is written too. origin: of its mask."""
        name = f"queries/{query.name}{'' if area is None else f'_{area:g}'}.jpg"
        self._save(copy.pixels, folder / name)
        return {
            "query": name,
            "reference": _path(query.reference) if query.reference else "",
            "tags": "" if area is None else f"area={area:g}",
            "kind": self.kind.name,
            "area": f"{copy.area:.4f}",
            "box": " ".join(map(str, copy.box)),
            "transformation": "; ".join(filter(None, [origin and f"mask={origin}", copy.transformation])),
            "original": query.original.id,
            "other": query.other.id if self._takes_other else "",
        }

    def _save(self, pixels: Pixels, path: Path) -> None:
        """The one JPEG pass that queries and references share."""
        Image.fromarray(pixels).save(path, quality=self.recipe.jpeg)

    def _manifest(self, plan: Plan, made: Sequence[Made]) -> dict[str, Any]:
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
                "sha256": images_sha256(self._pictures, hashed),
                "images": len(self._pictures),
                "masks_left_out": len(self.source.images) - len(self._pictures),
                "identical_files_left_out": len(self._pictures) - len(images),
            },
            "backgrounds": self.backgrounds.identity if self.backgrounds else None,
            "parameters": chosen,
            "versions": {name: version(name) for name in packages},
            "queries": sum(len(job.rows) for job in made),
            "left_out_of_reach": sum(bool(job.out_of_reach) for job in made),
            "left_out_flat": sum(bool(job.missed) and not job.out_of_reach for job in made),
            "references": len(plan.references),
            "originals": len({row["reference"] for job in made for row in job.rows if row["reference"]}),
        }


def _path(reference: Reference) -> str:
    return f"references/{reference.name}.jpg"


def _parallel(jobs: Sequence[Callable[[], Made]], workers: int) -> Iterator[Made]:
    """The jobs' results in order; what has not begun is dropped where one fails or the user stops."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(lambda job: job(), jobs)
    finally:
        pool.shutdown(cancel_futures=True)
