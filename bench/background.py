"""The background set: images that post-processing is fitted on, never those of the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import manifest
from bench.data.unreadable import readable_files
from bench.errors import DatasetError, UsageError
from bench.interfaces import ImageFile
from bench.sources import Source, images_of


@dataclass(frozen=True)
class Background:
    """The images of a source."""

    source: Source

    @property
    def identity(self) -> str:
        return self.source.identity

    @classmethod
    def parse(cls, text: str) -> "Background":
        """The folder, dataset or shards that `text` names. Raises UsageError where it is none of them."""
        try:
            return cls(images_of(text))
        except UsageError as error:
            raise UsageError(f"the background {error}") from error

    def load(self, strict: bool = False) -> "Loaded":
        """Hash the images; those whose file can't be read are left out.

        Raises:
            DatasetError: There are none.
            ImageError: One can't be read, and `strict`.
        """
        images, hashed, unreadable = readable_files(self.source, strict)
        return Loaded(self.identity, images, hashed, manifest.images_sha256(images, hashed), unreadable)


@dataclass(frozen=True)
class Loaded:
    """A background that was read.

    hashed: sha256 by image id; sha256: of all of it. unreadable: images left out, id -> reason.
    """

    identity: str
    images: Sequence[ImageFile]
    hashed: Mapping[str, str]
    sha256: str
    unreadable: Mapping[str, str]

    def require_apart(self, dataset: str, hashed: Mapping[str, str]) -> None:
        """Raises DatasetError, naming an image, where a file of the dataset, with these hashes, is here too."""
        own = {sha256: name for name, sha256 in self.hashed.items()}
        for name, sha256 in hashed.items():
            if sha256 in own:
                raise DatasetError(
                    f"the image {name} of {dataset} is also in the background {self.identity} (as {own[sha256]}): "
                    "post-processing must not be fitted on the images of the test"
                )
