"""Where the objects of segmix end: masks from a folder, an alpha channel, Pascal VOC or COCO, or a seeded blob."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import DatasetError, ImageError, UsageError
from bench.images import named, opened
from bench.interfaces import ImageFile
from bench.listing import files_below
from bench.names import unescaped
from datasets.demo._rng import Rng
from datasets.synthetic._pictures import Picture, alpha_of, cut
from datasets.synthetic._regions import Mask, blob

LEAST_SHARE = 0.01  # of the image that an object takes to be chosen, where there is a larger one
VOID = 255  # border of an object in Pascal VOC
VOC_FOLDERS = ("SegmentationObject", "SegmentationClass")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".gif")
BLOB_SHARES = (0.2, 0.5)


class Masks(Protocol):
    """A source of masks. kind: what it is called in the manifest. folders: where its own pictures lie."""

    @property
    def kind(self) -> str: ...

    @property
    def folders(self) -> tuple[Path, ...]: ...

    def has(self, image: ImageFile) -> bool:
        """Whether an object of this image has a mask."""
        ...

    def of(self, image: ImageFile, picture: Picture, rng: Rng) -> tuple[Image.Image, str]:
        """The mask of one object, 8 bits at the picture's size, and what it comes from.

        Raises DatasetError, naming the file, where the mask is of another size or empty.
        """
        ...


def masks(spec: str | None) -> Masks:
    """The masks that `alpha`, a folder (also of Pascal VOC) or a COCO file names.

    None: the alpha channel where there is one, else a blob. Raises UsageError where it is none of them.
    """
    if spec is None:
        return AlphaOrBlob()
    if spec == "alpha":
        return Alpha()
    path = Path(spec)
    if path.is_dir():
        return MaskFolder(next((path / name for name in VOC_FOLDERS if (path / name).is_dir()), path))
    if path.suffix == ".json" and path.is_file():
        return Coco(path)
    raise UsageError(
        f"there are no masks '{spec}': name a folder of masks, the folder of Pascal VOC, a COCO .json file, or alpha"
    )


@dataclass(frozen=True)
class Alpha:
    """What an alpha channel shows."""

    kind: str = "alpha channel"
    folders: tuple[Path, ...] = ()

    def has(self, image: ImageFile) -> bool:
        return alpha_of(image) is not None

    def of(self, image: ImageFile, picture: Picture, rng: Rng) -> tuple[Image.Image, str]:
        assert picture.alpha is not None
        return picture.alpha, "alpha"


@dataclass(frozen=True)
class AlphaOrBlob:
    """What an alpha channel shows, or else a smooth region that has nothing to do with what is in the image."""

    kind: str = "alpha channel, or a seeded smooth blob where there is none"
    folders: tuple[Path, ...] = ()

    def has(self, image: ImageFile) -> bool:
        return True

    def of(self, image: ImageFile, picture: Picture, rng: Rng) -> tuple[Image.Image, str]:
        if picture.alpha is not None:
            return picture.alpha, "alpha"
        width, height = picture.rgb.size
        return _drawn(blob((height, width), rng.real(*BLOB_SHARES), rng)), "blob"


@dataclass(frozen=True)
class MaskFolder:
    """Files called after the images. An image with a palette tells objects apart by number, as in Pascal VOC."""

    folder: Path

    @property
    def kind(self) -> str:
        return f"masks in {self.folder.name}"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of Pascal VOC also that of the other kind of masks."""
        whole = self.folder.resolve()
        return tuple(whole.with_name(name) for name in VOC_FOLDERS) if whole.name in VOC_FOLDERS else (whole,)

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        paths = files_below(self.folder, MASK_SUFFIXES)
        return {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in paths}

    def _file(self, image: ImageFile) -> Path | None:
        """At the image's own relative path, else at the top under its name, or its name in a shard."""
        name = PurePosixPath(unescaped(image.id)).with_suffix("")
        return next((self._files[n] for n in (str(name), image.path.stem, name.name) if n in self._files), None)

    def has(self, image: ImageFile) -> bool:
        return self._file(image) is not None

    def of(self, image: ImageFile, picture: Picture, rng: Rng) -> tuple[Image.Image, str]:
        path = self._file(image)
        assert path is not None
        try:
            values, palette = _values(path)
        except ImageError as error:
            raise DatasetError(f"a mask can't be used: {error}") from error
        if palette:
            objects = [values == number for number in np.unique(values) if number not in (0, VOID)]
        else:
            objects = [values > values.max() / 2] if values.max() else []
        return _chosen(objects, image, picture, str(path), rng), "file"


@dataclass(frozen=True)
class Coco:
    """Instances in a COCO annotation file: polygons, and run lengths as lists or packed."""

    path: Path
    folders: tuple[Path, ...] = ()

    @property
    def kind(self) -> str:
        return f"instances in {self.path.name}"

    @cached_property
    def _instances(self) -> Mapping[str, list[Any]]:
        """Segmentations by file name."""
        try:
            content = json.loads(self.path.read_text("utf-8"))
            names = {image["id"]: image["file_name"] for image in content["images"]}
            found: dict[str, list[Any]] = {name: [] for name in names.values()}
            for annotation in content["annotations"]:
                if annotation.get("segmentation") and not annotation.get("iscrowd"):
                    found[names[annotation["image_id"]]].append(annotation["segmentation"])
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DatasetError(f"{self.path} is not a JSON file ({error}): save it as one") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{self.path} is not COCO's instances file ({type(error).__name__} {error}): it has images (id, "
                "file_name) and annotations (image_id, segmentation)"
            ) from error
        return found

    def _of(self, image: ImageFile) -> list[Any]:
        names = unescaped(image.id), image.path.name, PurePosixPath(unescaped(image.id)).name
        return next((self._instances[name] for name in names if self._instances.get(name)), [])

    def has(self, image: ImageFile) -> bool:
        return bool(self._of(image))

    def of(self, image: ImageFile, picture: Picture, rng: Rng) -> tuple[Image.Image, str]:
        with opened(image.path) as file:
            shape = file.height, file.width
        where = f"the annotation of {image.id} in {self.path}"
        objects = [decoded(segmentation, shape, where) for segmentation in self._of(image)]
        return _chosen(objects, image, picture, where, rng), "coco"


def decoded(segmentation: Any, shape: tuple[int, int], where: str) -> Mask:
    """The mask [height, width] of a COCO segmentation: a pixel is inside a polygon where its middle is.

    Raises DatasetError naming `where` for one that is none, or is of another size.
    """
    try:
        if isinstance(segmentation, list):
            return _polygons(segmentation, shape)
        counts, size = segmentation["counts"], tuple(segmentation["size"])
        lengths = _unpacked(counts) if isinstance(counts, str) else _whole(counts)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DatasetError(f"{where} is neither polygons nor run lengths ({error}): correct it") from error
    if size != shape:
        raise DatasetError(f"{where} is of {size} pixels, the image of {shape} (height, width): correct it")
    if min(lengths, default=0) < 0 or sum(lengths) != shape[0] * shape[1]:
        raise DatasetError(
            f"{where} has run lengths of the sum {sum(lengths)} and the least {min(lengths, default=0)}, but its image "
            f"has {shape[0] * shape[1]} pixels and none is below 0: correct it"
        )
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(shape, order="F")


def _polygons(polygons: list[Any], shape: tuple[int, int]) -> Mask:
    from skimage.draw import polygon2mask

    mask = np.zeros(shape, bool)
    for polygon in polygons:
        corners = np.array(polygon, np.float64).reshape(-1, 2)[:, ::-1] - 0.5
        mask |= polygon2mask(shape, corners)  # type: ignore[no-untyped-call]
    return mask


def _whole(counts: list[Any]) -> list[int]:
    if not all(type(count) is int for count in counts):
        raise ValueError("counts that are not whole numbers")
    return counts


def _unpacked(packed: str) -> list[int]:
    """COCO's packed run lengths: groups of 5 bits, low first, bit 6 for more; from the fourth on differences to the
    one before the last."""
    lengths: list[int] = []
    value = shift = 0
    for letter in packed.encode("ascii"):
        bits = letter - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths


def _values(path: Path) -> tuple[NDArray[np.uint8], bool]:
    """The numbers of a palette's colours, or greys, and whether there is a palette. Raises ImageError."""
    with named(path), opened(path) as file:
        return np.asarray(file if file.mode == "P" else file.convert("L")), file.mode == "P"


def _chosen(objects: list[Mask], image: ImageFile, picture: Picture, where: str, rng: Rng) -> Image.Image:
    """One object at random, of those that are not tiny, as far as it lies in the image's box."""
    masks = [cut(_drawn(mask), image) for mask in objects]
    if masks and masks[0].size != picture.rgb.size:
        raise DatasetError(
            f"{where} is of {_size(masks[0])} pixels, its image {image.path} of {_size(picture.rgb)}: a mask has the "
            "size of its image"
        )
    areas = [int(np.count_nonzero(np.asarray(mask))) for mask in masks]
    if not any(areas):
        raise DatasetError(f"{where} shows no object: correct it or leave it out")
    least = min(max(areas), int(LEAST_SHARE * picture.rgb.width * picture.rgb.height))
    return rng.choice([mask for mask, area in zip(masks, areas, strict=True) if area >= least])


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"


def _drawn(mask: Mask) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)
