"""Datasets that others published: where their files lie, where they come from, and how many there must be."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import paths
from bench.errors import DatasetError, DatasetUnavailable
from bench.interfaces import Dataset, ImageFile, Split
from bench.manifest import Manifest, manifest, unique_images
from bench.names import escaped

NAMED_MISSING = 3  # missing files that an error names


@dataclass(frozen=True)
class Download:
    """A file of a dataset on the web.

    path: where it belongs in the dataset's folder: the file itself, or the folder that the archive is unpacked into.
    sha256, md5: of the file, where published. megabytes: about how much is downloaded, in 1e6 bytes, where known.
    inner: archives in the archive, as paths in it; they are unpacked where they lie and removed.
    """

    url: str
    path: str
    unpack: bool
    megabytes: float | None = None
    sha256: str | None = None
    md5: str | None = None
    inner: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published(Dataset):
    """A dataset in its published layout under `folder`.

    directory: where it lies, None for the folder of its name beside the other datasets.
    layout: what is expected in the folder. homepage: where it is to be had by hand. licence, citation: of the dataset.
    downloads: its files where a public download exists. counts: what a complete copy has, as published, by attributes
    of `bench.manifest.Manifest` such as n_queries and n_database.
    """

    directory: Path | None = field(kw_only=True)
    layout: str = field(kw_only=True)
    homepage: str = field(kw_only=True)
    licence: str = field(kw_only=True)
    citation: str = field(kw_only=True)
    downloads: tuple[Download, ...] = field(default=(), kw_only=True)
    counts: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    @property
    def folder(self) -> Path:
        return self.directory or paths.datasets() / self.name

    @property
    def identity(self) -> str:
        return self.name if self.directory is None else f"{self.name}:{escaped(str(self.directory.resolve()))}"

    @property
    def how_to_get(self) -> str:
        """One sentence: the command or the address, and the layout."""
        if self.downloads:
            chosen = self.name if self.directory is None else f"{self.name}:{self.directory}"
            return f"`bench fetch datasets {chosen}`; expected in {self.folder}: {self.layout}"
        return self.how_to_bring

    @property
    def how_to_bring(self) -> str:
        """One sentence: where it is to be had by hand, and the layout."""
        return f"get it from {self.homepage}; expected in {self.folder}: {self.layout}"

    @abstractmethod
    def read(self) -> Split:
        """The images that the ground truth names, whether they are there or not.

        Raises DatasetError where the ground truth itself is missing, or not of its published form.
        """

    def named_by(self, image: ImageFile) -> str:
        """Where the ground truth names an image of the split: file and row; "" where no file lists the images."""
        return ""

    def load(self) -> Split:
        if not self.folder.is_dir():
            raise DatasetUnavailable(f"the dataset {self.name} is not here: {self.how_to_get}")
        split = self.read()
        if missing := missing_images(split):
            named = ", ".join(within(self.folder, image.path) for image in missing[:NAMED_MISSING])
            more = f" and {len(missing) - NAMED_MISSING} more" if len(missing) > NAMED_MISSING else ""
            row = self.named_by(missing[0])
            raise DatasetError(f"{self.folder} lacks {named}{more}{f' (see {row})' if row else ''}: {self.how_to_get}")
        return split


def missing_images(split: Split) -> Sequence[ImageFile]:
    """Those of a split that are no files, each once."""
    files = {image.path: image for image in (*split.queries, *split.database)}
    return [image for path, image in files.items() if not path.is_file()]


def counted(split: Split) -> Manifest:
    """The manifest as far as it counts; no image is read, and its hashes mean nothing.

    Raises DatasetError where one id stands for two files.
    """
    return manifest(split, dict.fromkeys((image.id for image in unique_images(split)), ""))


def within(folder: Path, path: Path) -> str:
    """A path as it is told of a dataset: in its folder, or where else it lies."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
