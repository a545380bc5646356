"""A dataset that a run has read: its images, their hashes, and the part of it that has descriptors."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from bench.data.unreadable import needed, require_needed, require_none, without
from bench.interfaces import Dataset, ImageFile, Split
from bench.manifest import Manifest, hash_files, images_sha256, manifest, unique_images
from bench.sample import limited


@dataclass(frozen=True)
class Policy:
    """What happens where an image cannot be read or described.

    strict: the first one stops what needs it. skip: those that a ground truth needs are left out as the others are.
    """

    strict: bool = False
    skip: bool = False


GO_ON = Policy()


@dataclass(frozen=True)
class LoadedDataset:
    """A dataset with the sha256 of its images' files, by id.

    unreadable: images without a descriptor, id -> reason. needed: how many of them the ground truth needs.
    background_unreadable: the same of the images that post-processing was fitted on.
    """

    dataset: Dataset
    split: Split
    manifest: Manifest
    hashed: Mapping[str, str]
    unreadable: Mapping[str, str]
    needed: int = 0
    background_unreadable: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, dataset: Dataset, limit: int | None, seed: int, policy: Policy) -> "LoadedDataset":
        """Read a dataset and hash its images.

        Args:
            limit: Queries of a sample that `seed` draws, None for all.

        Raises:
            DatasetError: Files are missing, or the ground truth is wrong.
            ImageError: A file cannot be read, and the policy is strict.
        """
        split = dataset.load()
        if limit is not None:
            split = limited(split, limit, seed)
        hashed, unreadable = hash_files(unique_images(split))
        unreadable = {**split.unreadable, **unreadable}
        require_none(unreadable, policy.strict)
        whole = manifest(
            split, {**hashed, **dict.fromkeys((i.id for i in unique_images(split) if i.id not in hashed), "unreadable")}
        )
        described = images_sha256([image for image in unique_images(split) if image.id in hashed], hashed)
        return cls(dataset, split, replace(whole, images_sha256=described), hashed, unreadable)

    @cached_property
    def images(self) -> list[ImageFile]:
        """The images to be described: database and queries, an image of both once."""
        return [image for image in unique_images(self.split) if image.id in self.hashed]

    def judged(self, failed: Mapping[str, str], policy: Policy) -> "LoadedDataset":
        """The part of the dataset that has descriptors.

        Args:
            failed: Images that have none, id -> reason.

        Raises:
            DatasetError: The ground truth needs one of them, and the policy is not to skip such images.
        """
        lost = {**self.unreadable, **failed}
        if not lost:
            return self
        if not policy.skip:
            require_needed(self.dataset.name, self.split, lost)
        split = without(self.split, lost)
        left = replace(manifest(split, self.hashed), images_sha256=self.manifest.images_sha256)
        return replace(self, split=split, manifest=left, unreadable=lost, needed=len(needed(self.split, lost)))
