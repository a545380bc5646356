"""CelebA: aligned photographs of the faces of celebrities; here an image is to find the others of its person."""

from dataclasses import dataclass

from bench.errors import DatasetError
from bench.interfaces import Dataset, ImageFile, Split
from bench.plugins import register_dataset
from bench.published import Published
from datasets.retrieval import _truth
from datasets.retrieval._names import first_folder

FOLDER, IMAGES = "celeba", "img_align_celeba"
PERSONS = "identity_CelebA.txt"


@dataclass(frozen=True)
class CelebA(Published):
    """Every image is query and database."""

    def read(self) -> Split:
        folder = first_folder(self, FOLDER)
        path = _truth.required(self, folder / PERSONS)
        listed = [line.partition(" ") for line in _truth.lines(path)]
        for number, (_, _, person) in enumerate(listed, 1):
            if not person.isdecimal():
                raise DatasetError(f"{path}, line {number}: it is not an image and the number of a person: correct it")
        names = _truth.image_names((name for name, _, _ in listed), str(path))
        images = [ImageFile(name, folder / IMAGES / name) for name in names]
        return Split.of_classes(images, [int(person) for _, _, person in listed])

    def named_by(self, image: ImageFile) -> str:
        return str(first_folder(self, FOLDER) / PERSONS)


@register_dataset(groups=(), argument="DIR")
def celeba(directory: str = "") -> Dataset:
    """CelebA in torchvision's layout."""
    return CelebA(
        "celeba",
        "retrieval",
        "CelebA: each face finds those of its person, of 10,177",
        metrics=("map", "map_rop", "hit@1", "recall@10", "mrr", "r_precision", "map@r", "knn@20"),
        directory=_truth.at(directory),
        layout=f"{FOLDER}/{IMAGES}/000001.jpg, ... and {FOLDER}/{PERSONS}, or what is in that folder alone",
        homepage="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        licence="non-commercial research",
        citation="Liu, Luo, Wang, Tang: Deep Learning Face Attributes in the Wild, ICCV 2015",
        counts={"n_queries": 202599, "n_database": 202599},
    )
