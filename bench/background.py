"""The background set: images that post-processing is fitted on, never those of the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import images, manifest, plugins
from bench.errors import DatasetError, UsageError
from bench.interfaces import Dataset, ImageFile


@dataclass(frozen=True)
class Background:
    """A folder's images, or the database of a dataset. identity: the folder's path or the dataset's identity."""

    identity: str
    of: Path | Dataset

    @classmethod
    def parse(cls, text: str) -> "Background":
        """The folder, or the one dataset, that `text` names. Raises UsageError where it is neither."""
        folder = Path(text)
        if folder.is_dir():
            return cls(str(folder.resolve()), folder)
        try:
            chosen = [selected.item for selected in plugins.datasets.select(text)]
        except UsageError as error:
            raise UsageError(f"the background '{text}' is no folder, and {error}") from error
        if len(chosen) > 1:
            raise UsageError(f"the background '{text}' is {len(chosen)} datasets: name one, or a folder")
        return cls(chosen[0].identity, chosen[0])

    def load(self) -> "Loaded":
        """The images and their hashes. Raises DatasetError where there are none, or one is missing."""
        files = _below(self.of) if isinstance(self.of, Path) else self.of.load().database
        if not files:
            raise DatasetError(f"the background {self.identity} holds no images: name a folder that does")
        hashed = manifest.hashes(files)
        return Loaded(self.identity, files, hashed, manifest.images_sha256(files, hashed))


@dataclass(frozen=True)
class Loaded:
    """A background that was read. hashed: sha256 by image id; sha256: of all of it."""

    identity: str
    images: Sequence[ImageFile]
    hashed: Mapping[str, str]
    sha256: str

    def require_apart(self, dataset: str, hashed: Mapping[str, str]) -> None:
        """Raises DatasetError, naming an image, where a file of the dataset, with these hashes, is here too."""
        own = {sha256: name for name, sha256 in self.hashed.items()}
        for name, sha256 in hashed.items():
            if sha256 in own:
                raise DatasetError(
                    f"the image {name} of {dataset} is also in the background {self.identity} (as {own[sha256]}): "
                    "post-processing must not be fitted on the images of the test"
                )


def _below(folder: Path) -> Sequence[ImageFile]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.SUFFIXES and path.is_file())
    return [ImageFile(path.relative_to(folder).as_posix(), path) for path in paths]
